//! Why a request brought nothing, what that means for the exit code, and what a person can do about it.

use ringwood_server::ProblemBody;

use crate::outcome::Outcome;

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection. Nothing was done.
    #[error("cannot reach {url}: {why}")]
    Unreachable {
        /// The server.
        url: String,
        /// What the system says.
        why: String,
    },
    /// The connection broke. A write may have been applied, or not.
    #[error("lost the connection to {url}: {why}; whether the request took effect is unknown")]
    Lost {
        /// The server.
        url: String,
        /// What the system says.
        why: String,
    },
    /// The server answered with a problem.
    #[error("{0}")]
    Refused(Box<ProblemBody>),
    /// Whatever answered is no Ringwood server.
    #[error("{url} answered {what}, which a Ringwood server would not")]
    Foreign {
        /// The server.
        url: String,
        /// What came.
        what: String,
    },
    /// The address is none.
    #[error("--url {url:?} {why}; an address looks like localhost:7400 or http://127.0.0.1:7400")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later. Sending a write again is the caller's decision.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused(problem) if problem.code == "QUOTA_EXCEEDED" => false,
            Self::Refused(problem) => problem.retryable || problem.status >= 500,
            Self::Foreign { .. } | Self::BadUrl { .. } => false,
        }
    }

    /// The problem's stable code.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// What this means for the exit code.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => Outcome::Unavailable,
            Self::Foreign { .. } => Outcome::Error,
            Self::BadUrl { .. } => Outcome::Usage,
            Self::Refused(problem) => match problem.status {
                404 if problem.code != "ROUTE_NOT_FOUND" => Outcome::NotFound,
                409 | 412 => Outcome::Precondition,
                408 | 429 | 503 | 504 | 507 => Outcome::Unavailable,
                _ if problem.code == "CONDITION_UNSUPPORTED" => Outcome::Precondition,
                // What was asked for cannot be done by any server: a key, a time, a range.
                400 | 413 | 414 | 416 | 422 | 431 => Outcome::Usage,
                _ => Outcome::Error,
            },
        }
    }

    /// What the person can do about it.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("start a server with `ringwood dev`, or name another one with --url")
            }
            Self::Foreign { .. } => Some("name a Ringwood server with --url"),
            Self::Lost { .. } => Some("read the key before you write it again"),
            Self::BadUrl { .. } => None,
            Self::Refused(problem) => match problem.code.as_str() {
                "NAMESPACE_NOT_FOUND" => Some("`ringwood namespace list` shows which there are"),
                "DISK_FULL" => Some(
                    "make room on the server's disk; reads and deletes go on, and writes resume by themselves",
                ),
                "STORE_FAILED" => {
                    Some("the disk failed; look at the server's log, then restart it")
                }
                "CORRUPT_DATA" => {
                    Some("stop the server and run `ringwood verify` on its directory")
                }
                "OVERLOADED" | "WRITES_STALLED" | "UNAVAILABLE" | "RATE_LIMITED" => {
                    Some("try again in a moment")
                }
                "QUOTA_EXCEEDED" => Some(
                    "delete what is not needed, or raise it: `ringwood namespace set NAME --bytes-max SIZE`",
                ),
                "NAMESPACES_EXHAUSTED" => Some(
                    "drop one that is not needed, or raise limits.namespaces in the server's configuration",
                ),
                "HOST_FORBIDDEN" => Some(
                    "name the server by 127.0.0.1 or localhost, or list the name with --allowed-host",
                ),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_become_exit_codes() {
        let outcome = |status, code: &str| {
            let problem = ProblemBody {
                status,
                code: code.to_owned(),
                ..ProblemBody::default()
            };
            ClientError::Refused(Box::new(problem)).outcome()
        };
        assert_eq!(outcome(404, "KEY_NOT_FOUND"), Outcome::NotFound);
        assert_eq!(outcome(409, "NAMESPACE_EXISTS"), Outcome::Precondition);
        assert_eq!(outcome(422, "CONDITION_UNSUPPORTED"), Outcome::Precondition);
        assert_eq!(outcome(422, "TTL_INVALID"), Outcome::Usage);
        assert_eq!(outcome(404, "ROUTE_NOT_FOUND"), Outcome::Error);
        assert_eq!(outcome(507, "DISK_FULL"), Outcome::Unavailable);
        assert_eq!(outcome(500, "IO_ERROR"), Outcome::Error);
    }
}
