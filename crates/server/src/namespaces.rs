//! `/v1/namespaces…`: making, listing, changing and dropping namespaces.

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use ringwood_node::{Namespace, NodeError, Policy, PolicyChange};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::FullResponse;
use crate::call::Call;
use crate::error::Result;
use crate::json;
use crate::object::object;
use crate::request::{self, decode_name};

/// A namespace to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateBody {
    /// 1 to 63 of `a-z`, `0-9`, `.`, `_`, `-`, beginning with a letter or digit.
    name: String,
    /// What it promises; defaults fill in what is left out.
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = PolicyShape)]
    policy: Policy,
}

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespaceReply<'a> {
    name: &'a str,
    /// What it promises.
    #[schema(value_type = PolicyShape)]
    policy: &'a Policy,
}

/// A page of the namespaces, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespaceList<'a> {
    namespaces: Vec<NamespaceReply<'a>>,
    /// To be sent for the next page; `null`: this was the last.
    cursor: Option<String>,
}

/// A namespace that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DropReply<'a> {
    name: &'a str,
    /// `dropped`.
    status: &'static str,
}

/// How a policy stands in JSON; the node reads and writes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Policy)]
#[allow(dead_code)] // describes; a test compares it with the policy itself
pub(crate) struct PolicyShape {
    /// `eventual` or `strong`. Fixed when the namespace is created.
    mode: String,
    /// How many replicas there are.
    replicas: u8,
    /// What becomes of concurrent writes, `lww` for one. Fixed when the namespace is created.
    conflicts: String,
    /// Which part of a key is hashed. Fixed when the namespace is created.
    routing: String,
    /// Seconds to live of what is put without saying so.
    default_ttl: Option<u64>,
    /// When a write is acknowledged: `synced` or `buffered`.
    durability: String,
    /// Longest value in bytes.
    value_len_max: Option<u64>,
    /// Requests a second, items of batches each for itself.
    requests_per_second: Option<u64>,
    /// Bytes, roughly, from which on puts are refused.
    bytes_max: Option<u64>,
}

/// How a change of a policy stands in JSON: what is left out stays.
#[derive(Debug, ToSchema)]
#[schema(as = PolicyChange)]
#[allow(dead_code)] // describes
pub(crate) struct PolicyChangeShape {
    /// Seconds; `null`: for ever.
    default_ttl: Option<u64>,
    /// `synced` or `buffered`.
    durability: Option<String>,
    /// Bytes; `null`: the node's limit.
    value_len_max: Option<u64>,
    /// Requests a second; `null`: any number.
    requests_per_second: Option<u64>,
    /// Bytes; `null`: any number.
    bytes_max: Option<u64>,
}

fn describe(namespace: &Namespace) -> NamespaceReply<'_> {
    NamespaceReply {
        name: namespace.name(),
        policy: namespace.policy(),
    }
}

pub(crate) fn list(mut call: Call<'_>) -> Result<FullResponse> {
    let limit = request::limit(&mut call.query, call.app.node.page_entries_max())?;
    let cursor = call.query.take("cursor")?;
    call.query.finish()?;
    let page = call.app.node.namespaces(limit, cursor.as_deref())?;
    let namespaces = page.namespaces.iter();
    let reply = NamespaceList {
        namespaces: namespaces.map(|namespace| describe(namespace)).collect(),
        cursor: page.cursor,
    };
    Ok(json::respond(StatusCode::OK, &reply))
}

pub(crate) fn get(call: Call<'_>) -> Result<FullResponse> {
    let namespace = call.app.namespace(&call.route)?;
    call.query.finish()?;
    Ok(json::respond(StatusCode::OK, &describe(&namespace)))
}

pub(crate) async fn create(mut call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let received = call.read_json().await?;
    let body: CreateBody = json::parse(&received.bytes)?;
    let node = call.app.node.clone();
    let work = move || node.create_namespace(&body.name, body.policy);
    let namespace = change(&call, work).await?;
    let mut response = json::respond(StatusCode::CREATED, &describe(&namespace));
    let location = format!("/v1/namespaces/{}", namespace.name());
    let location = HeaderValue::from_str(&location).expect("names are plain ASCII");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

pub(crate) async fn set(mut call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let name = name(&call)?;
    let received = call.read_json().await?;
    let policy: PolicyChange = json::parse(&received.bytes)?;
    let node = call.app.node.clone();
    let namespace = change(&call, move || node.update_namespace(&name, &policy)).await?;
    Ok(json::respond(StatusCode::OK, &describe(&namespace)))
}

pub(crate) async fn drop(call: Call<'_>) -> Result<FullResponse> {
    call.query.finish()?;
    let name = name(&call)?;
    let node = call.app.node.clone();
    let dropped = name.clone();
    change(&call, move || node.drop_namespace(&dropped)).await?;
    let reply = DropReply {
        name: &name,
        status: "dropped",
    };
    Ok(json::respond(StatusCode::OK, &reply))
}

fn name(call: &Call<'_>) -> Result<String> {
    let segment = call.route.namespace.unwrap_or_default();
    decode_name(segment).map(Cow::into_owned)
}

/// Changes of the catalog are rare, and wait for the disk.
async fn change<T: Send + 'static>(
    call: &Call<'_>,
    work: impl FnOnce() -> Result<T, NodeError> + Send + 'static,
) -> Result<T> {
    call.app.on_disk_thread(call.app.deadline(), work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_a_policy_has_the_policy_s_fields() {
        let fields = |value: serde_json::Value| {
            let object = value.as_object().unwrap().clone();
            object.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let shape = PolicyShape {
            mode: String::new(),
            replicas: 0,
            conflicts: String::new(),
            routing: String::new(),
            default_ttl: None,
            durability: String::new(),
            value_len_max: None,
            requests_per_second: None,
            bytes_max: None,
        };
        assert_eq!(
            fields(serde_json::to_value(&shape).unwrap()),
            fields(serde_json::to_value(Policy::default()).unwrap())
        );
    }
}
