//! `POST /v1/batch`: several puts, gets and deletes, each with a result of its own.

use bytes::Bytes;
use hyper::StatusCode;
use ringwood_env::UnixMillis;
use ringwood_node::{BatchItem, KeyReply, Put, Reply, Request};
use tokio::time::Instant;

use crate::answers::SHORT;
use crate::app::{App, FullResponse, no_room};
use crate::budget::Share;
use crate::call::{Call, misfit};
use crate::encoding::{Encoding, base64_decode};
use crate::error::{Code, Problem, Result};
use crate::json::{
    self, BatchBody, BatchReply, EntryReply, Item, ItemReply, KeyText, Operation, WriteReply,
};
use crate::request;

pub(crate) async fn run(mut call: Call<'_>) -> Result<FullResponse> {
    let durability = call.write_options()?;
    let encoding = request::encoding(&mut call.query)?;
    call.query.finish()?;
    let namespace = call.app.namespace(&call.route)?;
    let received = call.read_json().await?;
    let mut body: BatchBody = json::parse(&received.bytes)?;
    say_encoding(&mut body, encoding);
    let decoded: Vec<Result<BatchItem>> = body.items.iter().map(decode).collect();
    let share = make_room(call.app, &body, received.bytes.len()).await?;
    let items = decoded.iter().flatten().cloned().collect();
    let request = Request::Batch {
        namespace,
        items,
        durability,
    };
    let held_back = call.app.slow_down().await;
    call.count_from_here(held_back);
    let now = call.app.node.now();
    let Reply::Batch(replies) = call.finish(call.app.node.step(now, request)).await? else {
        return Err(misfit());
    };
    let mut replies = replies.into_iter();
    let mut results = Vec::with_capacity(decoded.len());
    for item in decoded {
        let result = match item {
            Err(problem) => Err(problem),
            Ok(_) => replies.next().ok_or_else(misfit)?.map_err(Into::into),
        };
        results.push(result);
    }
    let mut response = json::respond(StatusCode::OK, &report(body, results, now));
    if let Some(share) = share {
        response.body_mut().hold(share);
    }
    Ok(response)
}

/// Items say themselves how their values stand: those to be sent again come back without the parameter.
fn say_encoding(body: &mut BatchBody, encoding: Encoding) {
    if encoding == Encoding::default() {
        return;
    }
    let with_value = |item: &&mut Item| !matches!(item.op, Operation::Delete);
    for item in body.items.iter_mut().filter(with_value) {
        item.encoding.get_or_insert(encoding);
    }
}

/// What it answers cannot be refused once its writes are done: it takes its share of the memory for
/// answers before.
async fn make_room(app: &App, body: &BatchBody, body_len: usize) -> Result<Option<Share>> {
    let is_get = |item: &&Item| matches!(item.op, Operation::Get);
    let gets = body.items.iter().filter(is_get).count();
    let values = gets.saturating_mul(app.limits.value_len);
    let values = values.min(app.node.page_len_max() + app.limits.value_len);
    // Items come back by their keys, and those to be sent again as they were.
    let len = json::memory_for(values, body.items.len()) + body_len;
    if len <= SHORT {
        return Ok(None);
    }
    let until = Instant::now() + app.limits.answer_wait;
    let share = app.answers.long.take(len, until).await;
    share.map(Some).ok_or_else(no_room)
}

/// What an item asks for.
///
/// # Errors
/// What is wrong with it; other items are done all the same.
pub(crate) fn decode(item: &Item) -> Result<BatchItem> {
    let key = key(item)?;
    let context = item.context.clone();
    let only_put = |given: bool| match given {
        true => Err(Problem::new(
            Code::ParameterInvalid,
            "value, encoding, ttl and content_type belong to put",
        )),
        false => Ok(()),
    };
    match item.op {
        Operation::Put => {
            let value = item
                .value
                .clone()
                .ok_or_else(|| Problem::new(Code::ParameterInvalid, "put needs a value"))?;
            Ok(BatchItem::Put(Put {
                key,
                value: json::decode_value(value, item.encoding.unwrap_or_default())?,
                content_type: item.content_type.clone(),
                ttl: request::json_ttl(item.ttl.as_ref())?,
                context,
            }))
        }
        Operation::Get => {
            only_put(item.value.is_some() || item.ttl.is_some() || item.content_type.is_some())?;
            Ok(BatchItem::Get { key })
        }
        Operation::Delete => {
            only_put(
                item.value.is_some()
                    || item.encoding.is_some()
                    || item.ttl.is_some()
                    || item.content_type.is_some(),
            )?;
            Ok(BatchItem::Delete { key, context })
        }
    }
}

fn key(item: &Item) -> Result<Bytes> {
    match (&item.key, &item.key64) {
        (Some(key), None) => Ok(Bytes::copy_from_slice(key.as_bytes())),
        (None, Some(key)) => base64_decode(key)
            .map(Bytes::from)
            .ok_or_else(|| Problem::new(Code::KeyInvalid, "key64 is not base64url")),
        _ => Err(Problem::new(
            Code::KeyInvalid,
            "an item has a key or a key64",
        )),
    }
}

fn report(body: BatchBody, results: Vec<Result<KeyReply>>, now: UnixMillis) -> BatchReply {
    let mut reply = BatchReply {
        results: Vec::with_capacity(results.len()),
        succeeded: 0,
        failed: 0,
        unprocessed: BatchBody::default(),
    };
    for (item, result) in body.items.into_iter().zip(results) {
        match result {
            Ok(_) => reply.succeeded += 1,
            Err(_) => reply.failed += 1,
        }
        let again = matches!(&result, Err(problem) if problem.code.retryable());
        reply.results.push(describe(&item, result, now));
        if again {
            reply.unprocessed.items.push(item);
        }
    }
    reply
}

fn describe(item: &Item, result: Result<KeyReply>, now: UnixMillis) -> ItemReply {
    let text = KeyText {
        key: item.key.clone(),
        key64: item.key64.clone(),
    };
    let problem = match (key(item), result) {
        (_, Err(problem)) | (Err(problem), _) => problem,
        (Ok(key), Ok(reply)) => match reply {
            KeyReply::Missing => {
                return ItemReply::Missing {
                    status: "missing",
                    key: text.key,
                    key64: text.key64,
                };
            }
            KeyReply::Entry(entry) => {
                let wanted = item.encoding.unwrap_or(Encoding::Base64);
                return ItemReply::Found {
                    status: "found",
                    entry: EntryReply::new(&key, entry, wanted, now),
                };
            }
            written => match WriteReply::new(&key, written) {
                Some(reply) => return ItemReply::Written(reply),
                None => misfit(),
            },
        },
    };
    ItemReply::Failed {
        status: "failed",
        key: text.key,
        key64: text.key64,
        code: problem.code.as_str(),
        detail: problem.detail().to_owned(),
        retryable: problem.code.retryable(),
        outcome: match item.op {
            Operation::Get => None,
            Operation::Put | Operation::Delete => Some(problem.outcome.unwrap_or_default()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Item {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_wrong_with_an_item_is_told_by_its_code() {
        let code = |json: &str| decode(&item(json)).err().map(|problem| problem.code);
        assert_eq!(code(r#"{"op":"put","key":"k","value":"aGk="}"#), None);
        assert_eq!(code(r#"{"op":"get","key":"k","encoding":"utf8"}"#), None);
        assert_eq!(code(r#"{"op":"delete","key64":"_w"}"#), None);
        for (json, expected) in [
            (r#"{"op":"get"}"#, Code::KeyInvalid),
            (r#"{"op":"get","key":"k","key64":"aw"}"#, Code::KeyInvalid),
            (r#"{"op":"get","key64":"!"}"#, Code::KeyInvalid),
            (r#"{"op":"put","key":"k"}"#, Code::ParameterInvalid),
            (r#"{"op":"put","key":"k","value":"!"}"#, Code::Base64Invalid),
            (
                r#"{"op":"put","key":"k","value":"","ttl":"x"}"#,
                Code::TtlInvalid,
            ),
            (
                r#"{"op":"delete","key":"k","value":""}"#,
                Code::ParameterInvalid,
            ),
        ] {
            assert_eq!(code(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn items_to_be_sent_again_say_how_their_values_stand() {
        let text = r#"{"items":[{"op":"put","key":"a","value":"hi"},{"op":"delete","key":"b"}]}"#;
        let mut body: BatchBody = serde_json::from_str(text).unwrap();
        say_encoding(&mut body, Encoding::Utf8);
        let failed = || Err(Problem::new(Code::DiskFull, "no"));
        let reply = report(body, vec![failed(), failed()], 0);
        let again = serde_json::to_value(&reply.unprocessed).unwrap();
        assert_eq!(again["items"][0]["encoding"], "utf8");
        assert!(again["items"][1].get("encoding").is_none());
        let decode = |item: &Item| decode(item).map(drop);
        assert!(
            reply
                .unprocessed
                .items
                .iter()
                .all(|item| decode(item).is_ok())
        );
    }

    #[test]
    fn items_to_be_sent_again_come_back_as_they_were() {
        let text = r#"{"items":[{"op":"put","key":"a","value":"aGk=","ttl":3},{"op":"get","key64":"_w"},{"op":"delete","key":"b"}]}"#;
        let body: BatchBody = serde_json::from_str(text).unwrap();
        let problem = |code| Err(Problem::new(code, "no"));
        let results = vec![
            problem(Code::DiskFull),
            Ok(KeyReply::Missing),
            problem(Code::KeyEmpty),
        ];
        let reply = report(body, results, 0);
        assert_eq!((reply.succeeded, reply.failed), (1, 2));
        let again = serde_json::to_string(&reply.unprocessed).unwrap();
        assert_eq!(
            again,
            r#"{"items":[{"op":"put","key":"a","value":"aGk=","ttl":3}]}"#
        );
        let results = serde_json::to_value(&reply.results).unwrap();
        assert_eq!(results[0]["outcome"], "not_applied");
        assert_eq!(results[0]["code"], "DISK_FULL");
        assert_eq!(results[1]["status"], "missing");
        assert_eq!(results[1]["key64"], "_w");
    }
}
