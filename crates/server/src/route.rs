//! The one table of routes: requests are matched against it, and the API description is made of it.

use hyper::Method;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    RawPut,
    RawGet,
    RawDelete,
    JsonPut,
    JsonGet,
    JsonDelete,
    Scan,
    Batch,
    NamespaceList,
    NamespaceCreate,
    NamespaceGet,
    NamespaceSet,
    NamespaceDrop,
    NodeGet,
    NodeCheckpoint,
    NodeVerify,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Welcome,
}

impl Action {
    /// Every action, in the order of its number.
    pub(crate) const ALL: [Self; 21] = [
        Self::RawPut,
        Self::RawGet,
        Self::RawDelete,
        Self::JsonPut,
        Self::JsonGet,
        Self::JsonDelete,
        Self::Scan,
        Self::Batch,
        Self::NamespaceList,
        Self::NamespaceCreate,
        Self::NamespaceGet,
        Self::NamespaceSet,
        Self::NamespaceDrop,
        Self::NodeGet,
        Self::NodeCheckpoint,
        Self::NodeVerify,
        Self::Live,
        Self::Ready,
        Self::Metrics,
        Self::OpenApi,
        Self::Welcome,
    ];

    /// Its name in metrics, logs and the API description.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::RawPut => "raw_put",
            Self::RawGet => "raw_get",
            Self::RawDelete => "raw_delete",
            Self::JsonPut => "put",
            Self::JsonGet => "get",
            Self::JsonDelete => "delete",
            Self::Scan => "scan",
            Self::Batch => "batch",
            Self::NamespaceList => "namespace_list",
            Self::NamespaceCreate => "namespace_create",
            Self::NamespaceGet => "namespace_get",
            Self::NamespaceSet => "namespace_set",
            Self::NamespaceDrop => "namespace_drop",
            Self::NodeGet => "node_get",
            Self::NodeCheckpoint => "node_checkpoint",
            Self::NodeVerify => "node_verify",
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Metrics => "metrics",
            Self::OpenApi => "openapi",
            Self::Welcome => "welcome",
        }
    }

    /// Whether it changes anything, so that its errors tell the outcome.
    pub(crate) const fn writes(self) -> bool {
        matches!(
            self,
            Self::RawPut
                | Self::RawDelete
                | Self::JsonPut
                | Self::JsonDelete
                | Self::Batch
                | Self::NamespaceCreate
                | Self::NamespaceSet
                | Self::NamespaceDrop
                | Self::NodeCheckpoint
        )
    }

    /// Whether it answers for the data, and so counts against the limit of requests at work.
    pub(crate) const fn serves_data(self) -> bool {
        !matches!(
            self,
            Self::NodeGet
                | Self::Live
                | Self::Ready
                | Self::Metrics
                | Self::OpenApi
                | Self::Welcome
        )
    }
}

/// The paths that one set of methods is served on, and what each method does.
///
/// A path is made of literal segments, `{ns}` for one segment, and `{key}` for all that is left,
/// slashes too.
pub(crate) struct Resource {
    pub(crate) paths: &'static [&'static str],
    pub(crate) methods: &'static [(Method, Action)],
}

/// More specific ones first: the first that matches wins.
pub(crate) const RESOURCES: &[Resource] = &[
    Resource {
        paths: &["/kv/{key}", "/v1/namespaces/{ns}/raw/{key}"],
        methods: &[
            (Method::GET, Action::RawGet),
            (Method::PUT, Action::RawPut),
            (Method::DELETE, Action::RawDelete),
        ],
    },
    Resource {
        paths: &[
            "/v1/kv",
            "/v1/namespaces/{ns}/kv",
            "/api/v1/kv",
            "/api/v1/keys",
        ],
        methods: &[(Method::GET, Action::Scan)],
    },
    // Words of the alias: with other methods they are keys, below.
    Resource {
        paths: &["/api/v1/kv/range"],
        methods: &[
            (Method::GET, Action::Scan),
            (Method::PUT, Action::JsonPut),
            (Method::DELETE, Action::JsonDelete),
        ],
    },
    Resource {
        paths: &["/api/v1/kv/batch"],
        methods: &[
            (Method::POST, Action::Batch),
            (Method::GET, Action::JsonGet),
            (Method::PUT, Action::JsonPut),
            (Method::DELETE, Action::JsonDelete),
        ],
    },
    Resource {
        paths: &[
            "/v1/kv/{key}",
            "/v1/namespaces/{ns}/kv/{key}",
            "/api/v1/kv/{key}",
            "/api/v1/keys/{key}",
        ],
        methods: &[
            (Method::GET, Action::JsonGet),
            (Method::PUT, Action::JsonPut),
            (Method::DELETE, Action::JsonDelete),
        ],
    },
    Resource {
        paths: &["/v1/batch", "/v1/namespaces/{ns}/batch"],
        methods: &[(Method::POST, Action::Batch)],
    },
    Resource {
        paths: &["/v1/namespaces"],
        methods: &[
            (Method::GET, Action::NamespaceList),
            (Method::POST, Action::NamespaceCreate),
        ],
    },
    Resource {
        paths: &["/v1/namespaces/{ns}"],
        methods: &[
            (Method::GET, Action::NamespaceGet),
            (Method::PUT, Action::NamespaceSet),
            (Method::DELETE, Action::NamespaceDrop),
        ],
    },
    Resource {
        paths: &["/v1/cluster/nodes/self"],
        methods: &[(Method::GET, Action::NodeGet)],
    },
    Resource {
        paths: &["/v1/cluster/nodes/self/checkpoint"],
        methods: &[(Method::POST, Action::NodeCheckpoint)],
    },
    Resource {
        paths: &["/v1/cluster/nodes/self/verify"],
        methods: &[(Method::POST, Action::NodeVerify)],
    },
    Resource {
        paths: &["/livez"],
        methods: &[(Method::GET, Action::Live)],
    },
    Resource {
        paths: &["/readyz"],
        methods: &[(Method::GET, Action::Ready)],
    },
    Resource {
        paths: &["/metrics"],
        methods: &[(Method::GET, Action::Metrics)],
    },
    Resource {
        paths: &["/openapi.json"],
        methods: &[(Method::GET, Action::OpenApi)],
    },
    Resource {
        paths: &["/"],
        methods: &[(Method::GET, Action::Welcome)],
    },
];

/// A request's place in the table. Parts of the path are as they came, percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    pub(crate) action: Action,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) key: &'a str,
}

/// Why a request has no place in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    Path,
    /// The path takes these methods only.
    Method(String),
}

/// Finds what a request asks for. `HEAD` is `GET` without the body, everywhere.
pub(crate) fn find<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, NoRoute> {
    let wanted = match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    };
    let (resource, captured) = RESOURCES
        .iter()
        .find_map(|resource| {
            let captured = resource
                .paths
                .iter()
                .find_map(|pattern| capture(pattern, path));
            captured.map(|captured| (resource, captured))
        })
        .ok_or(NoRoute::Path)?;
    let action = resource
        .methods
        .iter()
        .find(|(method, _)| method == wanted)
        .map(|&(_, action)| action)
        .ok_or_else(|| NoRoute::Method(allowed(resource)))?;
    Ok(Route {
        action,
        namespace: captured.namespace,
        key: captured.key,
    })
}

/// The methods of a resource, as `Allow` lists them.
fn allowed(resource: &Resource) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (method, _) in resource.methods {
        names.push(method.as_str());
        if *method == Method::GET {
            names.push("HEAD");
        }
    }
    names.join(", ")
}

#[derive(Default)]
struct Captured<'a> {
    namespace: Option<&'a str>,
    key: &'a str,
}

fn capture<'a>(pattern: &str, path: &'a str) -> Option<Captured<'a>> {
    let mut captured = Captured::default();
    let mut pattern = pattern.strip_prefix('/')?;
    let mut rest = path.strip_prefix('/')?;
    loop {
        let (segment, pattern_rest) = match pattern.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (pattern, None),
        };
        if segment == "{key}" {
            captured.key = rest;
            return Some(captured);
        }
        let (found, path_rest) = match rest.split_once('/') {
            Some((found, rest)) => (found, Some(rest)),
            None => (rest, None),
        };
        match segment {
            "{ns}" if !found.is_empty() => captured.namespace = Some(found),
            literal if literal == found => {
                // `/api/v1/kv/range` stands for a key as well.
                captured.key = found;
            }
            _ => return None,
        }
        match (pattern_rest, path_rest) {
            (None, None) => return Some(captured),
            (Some(next), Some(left)) => (pattern, rest) = (next, left),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(method: Method, path: &str) -> Result<Action, NoRoute> {
        find(&method, path).map(|route| route.action)
    }

    #[test]
    fn keys_are_all_that_is_left_of_a_path() {
        let route = find(&Method::GET, "/kv/a/b%2Fc//d/").unwrap();
        assert_eq!((route.action, route.key), (Action::RawGet, "a/b%2Fc//d/"));
        let route = find(&Method::PUT, "/v1/namespaces/pets/kv/cat").unwrap();
        let expected = Route {
            action: Action::JsonPut,
            namespace: Some("pets"),
            key: "cat",
        };
        assert_eq!(route, expected);
        let route = find(&Method::GET, "/v1/kv/").unwrap();
        assert_eq!((route.action, route.key), (Action::JsonGet, ""));
    }

    #[test]
    fn words_of_the_alias_are_keys_for_other_methods() {
        assert_eq!(action(Method::GET, "/api/v1/kv/range"), Ok(Action::Scan));
        assert_eq!(action(Method::POST, "/api/v1/kv/batch"), Ok(Action::Batch));
        let route = find(&Method::PUT, "/api/v1/kv/range").unwrap();
        assert_eq!((route.action, route.key), (Action::JsonPut, "range"));
        assert_eq!(action(Method::GET, "/v1/kv/range"), Ok(Action::JsonGet));
        assert_eq!(
            action(Method::GET, "/api/v1/keys/range"),
            Ok(Action::JsonGet)
        );
    }

    #[test]
    fn unknown_paths_and_methods_are_told_apart() {
        for path in [
            "/v2/kv/a",
            "/v1",
            "/kv",
            "/v1/namespaces//kv",
            "/livez/",
            "*",
        ] {
            assert_eq!(action(Method::GET, path), Err(NoRoute::Path), "{path}");
        }
        let allow = NoRoute::Method("GET, HEAD, PUT, DELETE".into());
        assert_eq!(action(Method::PATCH, "/kv/a"), Err(allow));
    }

    #[test]
    fn every_path_of_the_table_reaches_its_own_resource() {
        for resource in RESOURCES {
            for path in resource.paths {
                let path = path.replace("{ns}", "n").replace("{key}", "k");
                for (method, expected) in resource.methods {
                    assert_eq!(
                        action(method.clone(), &path),
                        Ok(*expected),
                        "{method} {path}"
                    );
                }
            }
        }
        for (number, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, number);
        }
    }
}
