//! The API's description, made of the route table and the shapes of its bodies.

use std::sync::OnceLock;

use bytes::Bytes;
use hyper::Method;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ComponentsBuilder, KnownFormat, Schema, SchemaFormat, Type};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, ObjectBuilder, OpenApiBuilder, Paths, Ref, RefOr,
    Required, Response, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::admin::{CheckpointBody, CheckpointReply, NodeReply, VerifyReply};
use crate::error::ProblemBody;
use crate::json::{BatchBody, BatchReply, EntryReply, PageReply, PutBody, WriteReply};
use crate::namespaces::{
    CreateBody, DropReply, NamespaceList, NamespaceReply, PolicyChangeShape, PolicyShape,
};
use crate::route::{Action, RESOURCES};

/// What a body is made of.
#[derive(Clone, Copy)]
enum Shape {
    /// JSON, by the name of its schema.
    Json(&'static str),
    /// Any bytes.
    Bytes,
    Text,
    Nothing,
}

/// What the description says about an action beside its routes.
struct Described {
    summary: &'static str,
    query: &'static [&'static str],
    body: Shape,
    status: &'static str,
    reply: Shape,
}

const READ: &[&str] = &["key64", "r", "w"];
const WRITE: &[&str] = &["key64", "r", "w", "durability"];

const fn describe(action: Action) -> Described {
    use Shape::{Bytes, Json, Nothing, Text};
    let (summary, query, body, status, reply): (_, &'static [&'static str], _, _, _) = match action
    {
        Action::RawGet => ("Reads a value as it is", READ, Nothing, "200", Bytes),
        Action::RawPut => (
            "Sets a key to the body",
            &["key64", "r", "w", "durability", "ttl"],
            Bytes,
            "204",
            Nothing,
        ),
        Action::RawDelete => ("Removes a key", WRITE, Nothing, "204", Nothing),
        Action::JsonGet => (
            "Reads a key",
            &["key64", "r", "w", "encoding"],
            Nothing,
            "200",
            Json("EntryReply"),
        ),
        Action::JsonPut => (
            "Sets a key",
            &["key64", "r", "w", "durability", "ttl", "encoding"],
            Json("PutBody"),
            "200",
            Json("WriteReply"),
        ),
        Action::JsonDelete => ("Removes a key", WRITE, Nothing, "200", Json("WriteReply")),
        Action::Scan => (
            "Lists a range in key order, page by page",
            &[
                "start",
                "end",
                "prefix",
                "limit",
                "cursor",
                "reverse",
                "keys_only",
                "encoding",
                "r",
                "w",
            ],
            Nothing,
            "200",
            Json("PageReply"),
        ),
        Action::Batch => (
            "Puts, gets and deletes several keys, each with a result of its own",
            &["r", "w", "durability", "encoding"],
            Json("BatchBody"),
            "200",
            Json("BatchReply"),
        ),
        Action::NamespaceList => (
            "Lists the namespaces by name, page by page",
            &["limit", "cursor"],
            Nothing,
            "200",
            Json("NamespaceList"),
        ),
        Action::NamespaceCreate => (
            "Makes a namespace",
            &[],
            Json("CreateBody"),
            "201",
            Json("NamespaceReply"),
        ),
        Action::NamespaceGet => (
            "Tells a namespace's policy",
            &[],
            Nothing,
            "200",
            Json("NamespaceReply"),
        ),
        Action::NamespaceSet => (
            "Changes a namespace's policy",
            &[],
            Json("PolicyChange"),
            "200",
            Json("NamespaceReply"),
        ),
        Action::NamespaceDrop => (
            "Drops a namespace with all its keys",
            &[],
            Nothing,
            "200",
            Json("DropReply"),
        ),
        Action::NodeGet => (
            "Tells about this node",
            &[],
            Nothing,
            "200",
            Json("NodeReply"),
        ),
        Action::NodeCheckpoint => (
            "Copies this node's store by links, while it serves",
            &[],
            Json("CheckpointBody"),
            "200",
            Json("CheckpointReply"),
        ),
        Action::NodeVerify => (
            "Checks every checksum of this node's store, while it serves",
            &[],
            Nothing,
            "200",
            Json("VerifyReply"),
        ),
        Action::Live => ("Whether the process runs", &[], Nothing, "200", Text),
        Action::Ready => (
            "Whether requests can be sent here",
            &[],
            Nothing,
            "200",
            Text,
        ),
        Action::Metrics => (
            "Metrics in Prometheus' text format",
            &[],
            Nothing,
            "200",
            Text,
        ),
        Action::OpenApi => ("This description", &[], Nothing, "200", Json("OpenApi")),
        Action::Welcome => ("What to try first", &[], Nothing, "200", Text),
    };
    Described {
        summary,
        query,
        body,
        status,
        reply,
    }
}

/// The description, as JSON.
pub(crate) fn document() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        Bytes::from(
            build()
                .to_pretty_json()
                .expect("the description serializes"),
        )
    };
    DOCUMENT.get_or_init(make).clone()
}

fn build() -> utoipa::openapi::OpenApi {
    let mut paths = Paths::new();
    for resource in RESOURCES {
        for path in resource.paths {
            for (method, action) in resource.methods {
                add(&mut paths, path, method, *action);
                if *method == Method::GET {
                    add(&mut paths, path, &Method::HEAD, *action);
                }
            }
        }
    }
    let info = InfoBuilder::new()
        .title("Ringwood")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "A distributed key-value store. Keys in paths are percent-encoded bytes.",
        ));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components()))
        .build()
}

fn add(paths: &mut Paths, path: &str, method: &Method, action: Action) {
    let described = describe(action);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(operation_id(path, method, action)))
        .summary(Some(described.summary))
        .request_body(request_body(described.body))
        .response(described.status, reply(described.reply))
        .response("default", problem());
    for name in ["ns", "key"] {
        if path.contains(&format!("{{{name}}}")) {
            operation = operation.parameter(parameter(name, ParameterIn::Path));
        }
    }
    for name in described.query {
        operation = operation.parameter(parameter(name, ParameterIn::Query));
    }
    let method = match *method {
        Method::GET => HttpMethod::Get,
        Method::HEAD => HttpMethod::Head,
        Method::PUT => HttpMethod::Put,
        Method::POST => HttpMethod::Post,
        _ => HttpMethod::Delete,
    };
    paths.add_path_operation(path, vec![method], operation);
}

/// Unique, as the standard wants: most actions are served on several paths.
fn operation_id(path: &str, method: &Method, action: Action) -> String {
    let place: String = path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{}_{method}{place}", action.name())
}

fn parameter(name: &str, place: ParameterIn) -> Parameter {
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    let (kind, about) = match name {
        "ns" => (Type::String, "The namespace"),
        "key" => (
            Type::String,
            "The key: all that is left of the path, percent-encoded",
        ),
        "key64" => (
            Type::String,
            "The key in base64url, with nothing in the path",
        ),
        "r" => (Type::Integer, "Replicas that a read hears"),
        "w" => (Type::Integer, "Replicas that acknowledge a write"),
        "ttl" => (Type::String, "Seconds to live, or never"),
        "durability" => (Type::String, "When it is acknowledged: synced or buffered"),
        "encoding" => (Type::String, "How values stand in JSON: base64 or utf8"),
        "start" => (Type::String, "First key"),
        "end" => (Type::String, "The key before which the range ends"),
        "prefix" => (Type::String, "Only keys that begin like this"),
        "limit" => (Type::Integer, "Most items in the page"),
        "cursor" => (Type::String, "As the page before gave it"),
        "reverse" => (Type::Boolean, "From the end to the start"),
        "keys_only" => (Type::Boolean, "Leave the values out"),
        _ => unreachable!("every parameter of the table is described"),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .build()
}

fn request_body(shape: Shape) -> Option<RequestBody> {
    let (kind, schema) = content(shape)?;
    let content = ContentBuilder::new().schema(Some(schema)).build();
    Some(
        RequestBodyBuilder::new()
            .content(kind, content)
            .required(Some(Required::True))
            .build(),
    )
}

fn reply(shape: Shape) -> Response {
    let response = ResponseBuilder::new().description("Done");
    match content(shape) {
        None => response.build(),
        Some((kind, schema)) => {
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content(kind, content).build()
        }
    }
}

fn problem() -> Response {
    let schema = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
    ResponseBuilder::new()
        .description("Not done; the code says why")
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(Some(schema)).build(),
        )
        .build()
}

fn content(shape: Shape) -> Option<(&'static str, RefOr<Schema>)> {
    let string = ObjectBuilder::new().schema_type(Type::String);
    match shape {
        Shape::Nothing => None,
        Shape::Text => Some(("text/plain", string.into())),
        Shape::Bytes => {
            let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
            Some((
                "application/octet-stream",
                string.format(Some(format)).into(),
            ))
        }
        Shape::Json("OpenApi") => {
            let object = ObjectBuilder::new().schema_type(Type::Object);
            Some(("application/json", object.into()))
        }
        Shape::Json(name) => Some(("application/json", RefOr::Ref(Ref::from_schema_name(name)))),
    }
}

fn components() -> utoipa::openapi::Components {
    fn with<T: ToSchema>(mut all: Vec<(String, RefOr<Schema>)>) -> Vec<(String, RefOr<Schema>)> {
        all.push((T::name().into_owned(), <T as PartialSchema>::schema()));
        T::schemas(&mut all);
        all
    }
    let mut all = Vec::new();
    all = with::<ProblemBody>(all);
    all = with::<PutBody>(all);
    all = with::<WriteReply>(all);
    all = with::<EntryReply>(all);
    all = with::<PageReply>(all);
    all = with::<BatchBody>(all);
    all = with::<BatchReply>(all);
    all = with::<CreateBody>(all);
    all = with::<NamespaceReply<'_>>(all);
    all = with::<NamespaceList<'_>>(all);
    all = with::<DropReply<'_>>(all);
    all = with::<NodeReply>(all);
    all = with::<CheckpointBody>(all);
    all = with::<CheckpointReply>(all);
    all = with::<VerifyReply>(all);
    all = with::<PolicyShape>(all);
    all = with::<PolicyChangeShape>(all);
    all.into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| {
            components.schema(name, schema)
        })
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn parsed() -> Value {
        serde_json::from_slice(&document()).unwrap()
    }

    /// Every `$ref` below a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field.as_str() {
                        Some(target) if name == "$ref" => found.push(target.to_owned()),
                        _ => references(field, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = parsed();
        let described = document["paths"].as_object().unwrap();
        let mut routes = 0;
        for resource in RESOURCES {
            for path in resource.paths {
                let operations = described[*path].as_object().unwrap();
                for (method, _) in resource.methods {
                    let method = method.as_str().to_lowercase();
                    assert!(operations.contains_key(&method), "{method} {path}");
                    routes += if method == "get" { 2 } else { 1 };
                }
            }
        }
        let operations = described
            .values()
            .map(|path| path.as_object().unwrap().len());
        assert_eq!(operations.sum::<usize>(), routes);
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_operations_have_names_of_their_own() {
        let document = parsed();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let paths = document["paths"].as_object().unwrap();
        let mut names: Vec<_> = paths
            .values()
            .flat_map(|path| path.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
