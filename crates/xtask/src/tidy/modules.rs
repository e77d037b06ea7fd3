//! No cycle between the modules of a crate.
//!
//! Modules are compared where they are siblings: what happens below each of them is its own matter,
//! and is looked at one floor down. A module and its children are one thing to everybody else, and
//! may lean on each other: they are split for the reader's sake. Names are followed through re-exports, which are signposts and no dependencies. Tests may use all.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::finding::Finding;

/// A module, or an item, by its path from the root of its crate.
type ModPath = Vec<String>;

/// Follows re-exports of re-exports so far.
const DEPTH_MAX: usize = 8;

#[derive(Default)]
struct Module {
    /// Names that lead elsewhere, from `use`.
    names: BTreeMap<String, ModPath>,
    /// What it uses: the path, and the line.
    uses: Vec<(ModPath, usize)>,
    file: String,
}

#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModPath, Module>,
    /// Modules for tests; these and what lies below are not looked at.
    tests: Vec<ModPath>,
}

/// From a sibling to another, with the first place that makes it so.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, String>>;

/// Checks one crate, given its files by their path below `src`.
pub(crate) fn check(name: &str, sources: &BTreeMap<&str, &str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut all = Crate::default();
    for (path, text) in sources {
        let place = format!("crates/{name}/src/{path}");
        match syn::parse_file(text) {
            Err(error) => findings.push(Finding::error(place, format!("does not parse: {error}"))),
            Ok(file) => all.read(module_path(path), place, &file.items),
        }
    }
    all.forget_tests();
    for (parent, graph) in all.graphs() {
        for cycle in cycles(&graph) {
            findings.push(describe(name, &parent, &graph, &cycle));
        }
    }
    findings
}

fn module_path(file: &str) -> ModPath {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let mut path: ModPath = path.split('/').map(str::to_owned).collect();
    let last = path.last().map(String::as_str);
    if matches!(last, Some("mod")) || (path.len() == 1 && matches!(last, Some("lib" | "main"))) {
        path.pop();
    }
    path
}

impl Crate {
    fn read(&mut self, path: ModPath, file: String, items: &[syn::Item]) {
        let mut reader = Reader {
            path: path.clone(),
            module: Module {
                file,
                ..Module::default()
            },
            all: self,
        };
        for item in items {
            reader.visit_item(item);
        }
        let module = reader.module;
        self.modules.insert(path, module);
    }

    fn forget_tests(&mut self) {
        let tests = std::mem::take(&mut self.tests);
        let test = |path: &ModPath| tests.iter().any(|test| path.starts_with(test));
        self.modules.retain(|path, _| !test(path));
    }

    /// The module that defines what `path` names.
    fn owner(&self, path: &[String], depth: usize) -> Option<ModPath> {
        let known = (0..=path.len())
            .rev()
            .find(|&len| self.modules.contains_key(&path[..len]))?;
        let (module, rest) = path.split_at(known);
        let name = rest.first()?;
        match self.modules[module].names.get(name) {
            Some(elsewhere) if depth < DEPTH_MAX => {
                let path: ModPath = elsewhere.iter().chain(&rest[1..]).cloned().collect();
                self.owner(&path, depth + 1).or(Some(path))
            }
            _ => Some(module.to_vec()),
        }
    }

    /// Which child of each module uses which.
    fn graphs(&self) -> BTreeMap<ModPath, Graph<'_>> {
        let mut graphs = BTreeMap::<ModPath, Graph<'_>>::new();
        for (from, module) in &self.modules {
            for (path, line) in &module.uses {
                let to = match self.modules.get_key_value(path) {
                    Some((path, _)) => path,
                    None => match self
                        .owner(path, 0)
                        .and_then(|to| self.modules.get_key_value(&to))
                    {
                        Some((to, _)) => to,
                        None => continue,
                    },
                };
                let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
                let (Some(from_name), Some(to_name)) = (from.get(common), to.get(common)) else {
                    continue;
                };
                let graph = graphs.entry(from[..common].to_vec()).or_default();
                let place = || format!("{}:{line}", module.file);
                graph
                    .entry(from_name)
                    .or_default()
                    .entry(to_name)
                    .or_insert_with(place);
            }
        }
        graphs
    }
}

struct Reader<'a> {
    path: ModPath,
    module: Module,
    all: &'a mut Crate,
}

impl Reader<'_> {
    /// Makes a path absolute; `None` if it leaves the crate.
    fn resolve(&self, path: &[String]) -> Option<ModPath> {
        let mut base = self.path.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {}
            _ => {
                // A child, or a name from elsewhere; the first is told by whether it is a module.
                base.push(rest[0].clone());
                rest = &rest[1..];
            }
        }
        while rest.first().is_some_and(|first| first == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn add_use(&mut self, path: &[String], span: Span) {
        // One word is a local name or another crate's.
        if path.len() < 2 && path.first().is_none_or(|first| first != "super") {
            return;
        }
        if let Some(path) = self.resolve(path) {
            self.module.uses.push((path, span.start().line));
        }
    }

    fn add_tree(&mut self, prefix: &mut Vec<String>, tree: &syn::UseTree, signpost: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_tree(prefix, &path.tree, signpost);
                prefix.pop();
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(prefix, tree, signpost);
                }
            }
            syn::UseTree::Name(name) => self.add_name(prefix, &name.ident, &name.ident, signpost),
            syn::UseTree::Rename(rename) => {
                self.add_name(prefix, &rename.ident, &rename.rename, signpost)
            }
            syn::UseTree::Glob(_) if signpost => {}
            syn::UseTree::Glob(glob) => {
                prefix.push("*".to_owned());
                self.add_use(prefix, glob.star_token.spans[0]);
                prefix.pop();
            }
        }
    }

    fn add_name(
        &mut self,
        prefix: &mut Vec<String>,
        name: &syn::Ident,
        known_as: &syn::Ident,
        signpost: bool,
    ) {
        let itself = name == "self";
        if !itself {
            prefix.push(name.to_string());
        }
        let local = if itself && known_as == "self" {
            prefix.last().cloned()
        } else {
            Some(known_as.to_string())
        };
        if let (Some(local), Some(path)) = (local, self.resolve(prefix)) {
            self.module.names.insert(local, path);
        }
        if !signpost {
            self.add_use(prefix, name.span());
        }
        if !itself {
            prefix.pop();
        }
    }

    /// Macros are not parsed; paths from `crate` are recognised in their tokens all the same.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Ident(word) if path.is_empty() && word == "crate" => {
                    path.push("crate".into())
                }
                TokenTree::Ident(word) if !path.is_empty() => {
                    path.push(word.to_string());
                    let so_far = path.clone();
                    if so_far.len() > 2 {
                        self.add_use(&so_far, word.span());
                    }
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => {}
                TokenTree::Group(group) => {
                    path.clear();
                    self.add_tokens(group.stream());
                }
                _ => path.clear(),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        } else if let syn::Item::Mod(module) = item {
            let mut path = self.path.clone();
            path.push(module.ident.to_string());
            self.all.tests.push(path);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if let Some((_, items)) = &module.content {
            let mut path = self.path.clone();
            path.push(module.ident.to_string());
            self.all.read(path, self.module.file.clone(), items);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let signpost = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_tree(&mut Vec::new(), &item.tree, signpost);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            self.add_use(&words, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.add_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            ["test", "fuzzing"].contains(&condition.as_str())
                || (condition.starts_with("any") && condition.contains("test"))
        }
        _ => false,
    })
}

/// Sets of siblings in which each leads to each other.
fn cycles<'a>(graph: &Graph<'a>) -> Vec<BTreeSet<&'a str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = graph
        .keys()
        .map(|from| (*from, reachable(graph, from)))
        .collect();
    let mutual = |a: &'a str| {
        let back = |b: &&str| reach.get(*b).is_some_and(|set| set.contains(a));
        reach[a]
            .iter()
            .copied()
            .filter(back)
            .collect::<BTreeSet<_>>()
    };
    let found: BTreeSet<_> = graph.keys().map(|from| mutual(from)).collect();
    found.into_iter().filter(|cycle| cycle.len() > 1).collect()
}

fn reachable<'a>(graph: &Graph<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for to in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(*to) {
                next.push(to);
            }
        }
    }
    seen
}

fn describe(name: &str, parent: &ModPath, graph: &Graph<'_>, cycle: &BTreeSet<&str>) -> Finding {
    let mut edges = Vec::new();
    for from in cycle {
        for (to, place) in graph.get(from).into_iter().flatten() {
            if cycle.contains(to) && from != to {
                edges.push(format!("\n    {from} -> {to} at {place}"));
            }
        }
    }
    let place = format!(
        "crates/{name}: {}",
        [&["crate".to_owned()], parent.as_slice()]
            .concat()
            .join("::")
    );
    Finding::error(place, format!("modules in a cycle:{}", edges.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().copied().collect();
        check("x", &sources)
            .into_iter()
            .map(|one| format!("{}: {}", one.place, one.what))
            .collect()
    }

    fn clean(files: &[(&str, &str)]) {
        assert_eq!(found(files), [""; 0]);
    }

    fn cyclic(files: &[(&str, &str)], edges: &[&str]) {
        let found = found(files);
        assert_eq!(found.len(), 1, "{found:?}");
        for edge in edges {
            assert!(found[0].contains(edge), "{edge} is not in {found:?}");
        }
    }

    #[test]
    fn siblings_may_lean_on_each_other_one_way_only() {
        clean(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "pub struct B;"),
        ]);
        let edges = [
            "a -> b at crates/x/src/a.rs:2",
            "b -> a at crates/x/src/b.rs:1",
        ];
        cyclic(
            &[
                ("lib.rs", ""),
                ("a.rs", "\nuse crate::b::B;"),
                ("b.rs", "fn f() { crate::a::g() }"),
            ],
            &edges,
        );
    }

    #[test]
    fn a_longer_cycle_is_found_and_names_all_its_edges() {
        let files = [
            ("lib.rs", ""),
            ("a.rs", "use super::b;"),
            ("b/mod.rs", "mod deep;"),
            ("b/deep.rs", "use crate::c::C;"),
            ("c.rs", "type T = crate::a::A;"),
        ];
        cyclic(
            &files,
            &["a -> b", "b -> c at crates/x/src/b/deep.rs:1", "c -> a"],
        );
    }

    #[test]
    fn names_are_followed_through_signposts() {
        let lib = "mod a; mod b; pub use a::A; pub(crate) use b::{B as Bee, Other};";
        clean(&[("lib.rs", lib), ("a.rs", "use crate::Bee;"), ("b.rs", "")]);
        cyclic(
            &[
                ("lib.rs", lib),
                ("a.rs", "use crate::Bee;"),
                ("b.rs", "use crate::A;"),
            ],
            &["a -> b", "b -> a"],
        );
    }

    #[test]
    fn a_module_and_its_children_are_one() {
        let child = ("a/child.rs", "use super::Parent;");
        let parent = "mod child; struct Parent; fn f(x: child::Child) {}";
        clean(&[("lib.rs", ""), ("a.rs", parent), child]);
        // To others they are: a cycle through a child is one through its parent.
        let b = ("b.rs", "use crate::a::A;");
        cyclic(
            &[
                ("lib.rs", ""),
                ("a.rs", "mod child; struct A;"),
                ("a/child.rs", "use crate::b::B;"),
                b,
            ],
            &["a -> b", "b -> a"],
        );
    }

    #[test]
    fn paths_in_macros_count_and_tests_do_not() {
        cyclic(
            &[
                ("lib.rs", ""),
                ("a.rs", "fn f() { write!(x, \"{}\", crate::b::B) }"),
                ("b.rs", "use crate::a::f;"),
            ],
            &["a -> b", "b -> a"],
        );
        clean(&[
            ("lib.rs", ""),
            (
                "a.rs",
                "#[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] mod more;",
            ),
            ("a/more.rs", "use crate::b::B;"),
            ("b.rs", "use crate::a::A;"),
        ]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_found() {
        assert!(found(&[("lib.rs", "fn {")])[0].contains("does not parse"));
    }
}
