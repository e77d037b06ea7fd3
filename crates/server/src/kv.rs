//! `/v1/kv…`: keys and ranges in JSON.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::StatusCode;
use ringwood_node::{KeyReply, Put, Reply, Request, Scan};

use crate::answers::SHORT;
use crate::app::{App, FullResponse};
use crate::budget::Share;
use crate::call::{Call, key_reply, misfit};
use crate::encoding::Encoding;
use crate::error::{Code, Problem, Result};
use crate::head::Head;
use crate::json::{self, EntryReply, PageReply, PutBody, WriteReply};
use crate::request;

/// A page ends at its limit, or at so many bytes for each item it might have had; at no less than this.
const ITEM_LEN: usize = 16 << 10;
const PAGE_LEN_LEAST: usize = 256 << 10;
/// What a page may have more of is refused, or cut by its length.
const ITEMS_COUNTED: usize = 10_000;

pub(crate) async fn get(mut call: Call<'_>) -> Result<FullResponse> {
    let key = request::key(call.route.key, &mut call.query)?;
    let wanted = request::encoding(&mut call.query)?;
    request::check_consistency(&call.head, &mut call.query)?;
    call.query.finish()?;
    let request = Request::Get {
        namespace: call.app.namespace(&call.route)?,
        key: Bytes::copy_from_slice(&key),
    };
    let now = call.app.node.now();
    match key_reply(call.finish(call.app.node.step(now, request)).await?)? {
        KeyReply::Missing => Err(Problem::new(Code::KeyNotFound, "the key has no value")),
        KeyReply::Entry(entry) => {
            if wanted == Encoding::Utf8 && std::str::from_utf8(entry.value()).is_err() {
                let detail = "ask for it without encoding=utf8, or raw below /kv/";
                return Err(Problem::new(Code::ValueNotUtf8, detail));
            }
            let reply = EntryReply::new(&key, entry, wanted, now);
            Ok(json::respond(StatusCode::OK, &reply))
        }
        _ => Err(misfit()),
    }
}

pub(crate) async fn put(mut call: Call<'_>) -> Result<FullResponse> {
    let target = call.target()?;
    let ttl = request::ttl(&mut call.query)?;
    let wanted = request::encoding(&mut call.query)?;
    call.query.finish()?;
    // Base64 is a third longer than what it stands for; and the other fields need room.
    let room = call.app.limits.value_len / 3 + (16 << 10);
    let received = call.read_value(room).await?;
    let mut put = Put {
        key: target.key.clone(),
        ttl,
        context: target.context.clone(),
        ..Put::default()
    };
    match as_json(&call.head, &received.bytes)? {
        Some(body) => fill(&mut put, body, wanted)?,
        None => {
            put.value = received.bytes.clone();
            put.content_type = request::content_type(&call.head)?;
        }
    }
    let key = target.key.clone();
    written(&key, call.put(target, put).await?)
}

pub(crate) async fn delete(mut call: Call<'_>) -> Result<FullResponse> {
    let target = call.target()?;
    call.query.finish()?;
    let key = target.key.clone();
    written(&key, call.delete(target).await?)
}

fn written(key: &[u8], reply: KeyReply) -> Result<FullResponse> {
    let reply = WriteReply::new(key, reply).ok_or_else(misfit)?;
    Ok(json::respond(StatusCode::OK, &reply))
}

/// Takes from a JSON body what it says about a write; it has the last word.
fn fill(put: &mut Put, body: PutBody, wanted: Encoding) -> Result<()> {
    put.value = json::decode_value(body.value, body.encoding.unwrap_or(wanted))?;
    put.content_type = body.content_type;
    if body.ttl.is_some() {
        put.ttl = request::json_ttl(body.ttl.as_ref())?;
    }
    if body.context.is_some() {
        put.context = body.context;
    }
    Ok(())
}

/// Reads a body as JSON if it is that; `None`: it is the value itself.
///
/// Who says JSON must send what this route takes. Who says nothing (or form, as curl does unasked)
/// may mean either, and a body that is not exactly ours is taken as it is.
fn as_json(head: &Head<'_>, body: &[u8]) -> Result<Option<PutBody>> {
    let given = head.content_type.map_or(&b""[..], |value| value.as_bytes());
    let kind = given
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/json") {
        return json::parse(body).map(Some);
    }
    let unsaid = kind.is_empty() || kind == b"application/x-www-form-urlencoded";
    Ok(unsaid.then(|| json::parse(body).ok()).flatten())
}

pub(crate) async fn scan(mut call: Call<'_>) -> Result<FullResponse> {
    let query = &mut call.query;
    let owned = |key: Option<Cow<'_, [u8]>>| key.map(|key| Bytes::from(key.into_owned()));
    let limit = request::limit(query, call.app.node.page_entries_max())?;
    let mut scan = Scan {
        start: owned(query.take_bytes("start")?),
        end: owned(query.take_bytes("end")?),
        prefix: owned(query.take_bytes("prefix")?),
        limit,
        reverse: query.take_flag("reverse")?,
        keys_only: query.take_flag("keys_only")?,
        cursor: query.take("cursor")?.map(Cow::into_owned),
        len_max: None,
    };
    let wanted = request::encoding(query)?;
    request::check_consistency(&call.head, query)?;
    call.query.finish()?;
    let namespace = call.app.namespace(&call.route)?;
    let now = call.app.node.now();
    let share = make_room(call.app, &mut scan);
    let step = call.app.node.step(now, Request::Scan { namespace, scan });
    let Reply::Page(page) = call.finish(step).await? else {
        return Err(misfit());
    };
    let item = |found: ringwood_node::PageEntry| match found.entry {
        Some(entry) => EntryReply::new(&found.key, entry, wanted, now),
        None => EntryReply::key(&found.key),
    };
    let reply = PageReply {
        items: page.entries.into_iter().map(item).collect(),
        cursor: page.cursor,
    };
    let mut response = json::respond_of_len(StatusCode::OK, &reply, reply.text_len());
    if let Some(share) = share {
        response.body_mut().hold(share);
    }
    Ok(response)
}

/// A page takes its share of the memory for answers before it is made. Where there is none left, it is
/// made so short that it needs none.
fn make_room(app: &App, scan: &mut Scan) -> Option<Share> {
    let len_max = scan.limit.saturating_mul(ITEM_LEN).max(PAGE_LEN_LEAST);
    let len_max = len_max.min(app.node.page_len_max());
    let share = app
        .answers
        .long
        .try_take(json::memory_for(len_max, scan.limit.min(ITEMS_COUNTED)));
    if share.is_some() {
        scan.len_max = Some(len_max);
    } else {
        scan.len_max = Some(SHORT / 4);
        scan.limit = scan.limit.min(SHORT / 2 / json::ENTRY_FRAME_LEN);
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn who_says_json_must_send_it_and_others_may() {
        let read = |kind: Option<&'static str>, body: &str| {
            let kind = kind.map(HeaderValue::from_static);
            let head = Head {
                content_type: kind.as_ref(),
                ..Head::default()
            };
            as_json(&head, body.as_bytes())
        };
        let json = Some("application/json; charset=utf-8");
        let form = Some("application/x-www-form-urlencoded");
        let good = r#"{"value":"aGk=","ttl":3}"#;
        for kind in [json, form, None] {
            assert!(read(kind, good).unwrap().is_some(), "{kind:?}");
        }
        assert!(read(Some("text/plain"), good).unwrap().is_none());
        for bad in [
            "{",
            "",
            "[]",
            r#"["aGk=",null,3,null,null]"#,
            r#"{"value":3}"#,
            r#"{"value":"","tll":3}"#,
            r#"{"ttl":1}"#,
        ] {
            assert_eq!(
                read(json, bad).unwrap_err().code,
                Code::JsonInvalid,
                "{bad}"
            );
            assert!(read(form, bad).unwrap().is_none(), "{bad}");
        }
    }
}
