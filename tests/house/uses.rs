//! Which file uses which: names in `use` lines and in paths, followed through imports to the file
//! that defines them.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens, without_tests};

/// A module by its path from the root of the crate; the root itself is empty.
type ModulePath = Vec<String>;

/// What the resolver knows about a module.
#[derive(Default)]
struct Module {
    /// The file that it stands in, as the path from `src`.
    file: String,
    /// The names that it defines itself, modules included.
    defined: BTreeSet<String>,
    /// Each imported name with the path that it stands for.
    imported: BTreeMap<String, Vec<String>>,
    /// Modules of which all names are imported.
    globs: Vec<Vec<String>>,
}

/// A path in the text of a module, and whether it only passes the name on.
struct UsedPath {
    module: ModulePath,
    path: Vec<String>,
    line: usize,
    /// Set for `pub use`: the name that the file passes on.
    passed_on: Option<String>,
}

/// All modules of the crate, and all paths in their texts.
#[derive(Default)]
pub(super) struct Crate {
    modules: BTreeMap<ModulePath, Module>,
    paths: Vec<UsedPath>,
    /// The words that each file has outside `use` lines and names of modules.
    words: BTreeMap<String, BTreeSet<String>>,
}

/// A file that uses another one, at a line.
pub(super) type Edge = (String, usize, String);

impl Crate {
    /// Reads the files, each given by its path from `src` and its text. Files of tests are left out.
    pub(super) fn read(files: &[(&str, &str)]) -> Self {
        let mut all = Self::default();
        let mut of_tests: Vec<ModulePath> = Vec::new();
        let mut read = Vec::new();
        for (file, text) in files {
            let parts = file.trim_end_matches(".rs").split('/');
            let mut path: ModulePath = parts.map(str::to_owned).collect();
            if path
                .last()
                .is_some_and(|last| ["mod", "lib"].contains(&last.as_str()))
            {
                path.pop();
            }
            let (tokens, left_out) = without_tests(tokens(text));
            for module in left_out {
                of_tests.push([path.clone(), vec![module]].concat());
            }
            read.push((file, path, tokens));
        }
        for (file, path, tokens) in read {
            let tests = of_tests.iter().any(|tests| path.starts_with(tests));
            if !tests && !path.iter().any(|part| part == "tests") {
                all.read_file(file, path, &tokens);
            }
        }
        all
    }

    fn read_file(&mut self, file: &str, path: ModulePath, tokens: &[Token]) {
        self.module(&path, file);
        // Inline modules that are open, each with the depth of braces inside it.
        let mut open = vec![(path, 0)];
        let mut depth = 0;
        let mut at = 0;
        while at < tokens.len() {
            let (module, level) = open[open.len() - 1].clone();
            let text = tokens[at].text.as_str();
            let next = tokens.get(at + 1).map_or("", |token| token.text.as_str());
            if at == 0 || tokens[at - 1].text != "mod" {
                let words = self.words.entry(file.to_owned()).or_default();
                words.insert(text.to_owned());
            }
            match text {
                // Who may see it: `pub(in crate::room)`.
                "in" if at > 1 && tokens[at - 1].text == "(" && tokens[at - 2].text == "pub" => {
                    while tokens[at].text != ")" {
                        at += 1;
                    }
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if depth < level {
                        open.pop();
                    }
                }
                "use" if next != "<" => {
                    at = self.read_use(file, &module, tokens, at);
                    continue;
                }
                "mod" | "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const"
                | "static"
                    if depth == level =>
                {
                    let defined = &mut self.module(&module, file).defined;
                    defined.insert(next.to_owned());
                    let inline = tokens.get(at + 2).is_some_and(|token| token.text == "{");
                    if text == "mod" && inline {
                        let inner = [module, vec![next.to_owned()]].concat();
                        self.module(&inner, file);
                        depth += 1;
                        open.push((inner, depth));
                        at += 3;
                        continue;
                    }
                }
                "::" => {}
                _ if next == "::" && tokens[at].is_name() => {
                    let line = tokens[at].line;
                    let mut path = vec![text.to_owned()];
                    while tokens.get(at + 1).is_some_and(|token| token.text == "::")
                        && tokens.get(at + 2).is_some_and(Token::is_name)
                    {
                        path.push(tokens[at + 2].text.clone());
                        at += 2;
                    }
                    self.paths.push(UsedPath {
                        module,
                        path,
                        line,
                        passed_on: None,
                    });
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn module(&mut self, path: &[String], file: &str) -> &mut Module {
        let module = self.modules.entry(path.to_vec()).or_default();
        file.clone_into(&mut module.file);
        module
    }

    /// Reads a `use` line that starts at a token, and returns where the text goes on.
    fn read_use(&mut self, file: &str, module: &[String], tokens: &[Token], start: usize) -> usize {
        let public = start > 0 && [")", "pub"].contains(&tokens[start - 1].text.as_str());
        let mut prefixes = vec![Vec::new()];
        let mut path: Vec<String> = Vec::new();
        let mut alias = None;
        let mut line = tokens[start].line;
        let mut at = start + 1;
        loop {
            let text = tokens[at].text.as_str();
            match text {
                "{" => prefixes.push(std::mem::take(&mut path)),
                "::" => {}
                "as" => {
                    at += 1;
                    alias = Some(tokens[at].text.clone());
                }
                "," | "}" | ";" => {
                    if !path.is_empty() {
                        let mut whole = [prefixes.concat(), std::mem::take(&mut path)].concat();
                        if whole.last().is_some_and(|last| last == "self") {
                            whole.pop();
                        }
                        self.import(file, module, whole, alias.take(), line, public);
                    }
                    match text {
                        "}" => drop(prefixes.pop()),
                        ";" => return at + 1,
                        _ => {}
                    }
                }
                _ => {
                    line = tokens[at].line;
                    path.push(text.to_owned());
                }
            }
            at += 1;
        }
    }

    fn import(
        &mut self,
        file: &str,
        module: &[String],
        mut path: Vec<String>,
        alias: Option<String>,
        line: usize,
        public: bool,
    ) {
        let known = self.module(module, file);
        let mut name = None;
        if path.last().is_some_and(|last| last == "*") {
            path.pop();
            known.globs.push(path.clone());
        } else {
            name = alias.or_else(|| path.last().cloned());
            known
                .imported
                .insert(name.clone().unwrap_or_default(), path.clone());
        }
        self.paths.push(UsedPath {
            module: module.to_vec(),
            path,
            line,
            passed_on: public.then(|| name.unwrap_or_default()),
        });
    }

    /// The file that defines what a path in a module names; `None` for what is not of this crate.
    fn resolve(&self, module: &[String], path: &[String]) -> Option<String> {
        let (module, item) = self.follow(module, path, 0)?;
        let module = self.modules.get(&module)?;
        // Of a glob it is not known whether it brings the name: the file itself has it then.
        Some(item.map_or(module, |_| module).file.clone())
    }

    /// Follows a path through modules and imports: the module that has the item, and the item
    /// unless the path names the module itself.
    fn follow(
        &self,
        module: &[String],
        path: &[String],
        imports: usize,
    ) -> Option<(ModulePath, Option<String>)> {
        // A circle of imports would not compile, but must not run here without an end.
        if imports > 20 {
            return None;
        }
        let mut here = module.to_vec();
        for name in path {
            match name.as_str() {
                "crate" => here.clear(),
                "self" => {}
                "super" => drop(here.pop()),
                _ => {
                    let inner = [here.clone(), vec![name.clone()]].concat();
                    if self.modules.contains_key(&inner) {
                        here = inner;
                        continue;
                    }
                    let known = self.modules.get(&here)?;
                    let found = if let Some(import) = known.imported.get(name) {
                        // `use serde_json;` stands for itself.
                        if import.len() == 1 && import[0] == *name {
                            return None;
                        }
                        self.follow(&here, import, imports + 1)
                    } else if known.defined.contains(name) {
                        return Some((here, Some(name.clone())));
                    } else {
                        known.globs.iter().find_map(|glob| {
                            let path = [glob.as_slice(), std::slice::from_ref(name)].concat();
                            self.follow(&here, &path, imports + 1)
                        })
                    };
                    match found {
                        Some((inner, None)) => here = inner,
                        Some(item) => return Some(item),
                        // Nothing of this name is in the module: it is of another crate.
                        None => return None,
                    }
                }
            }
        }
        Some((here, None))
    }

    /// Who uses whom, each pair once. What a file only passes on with `pub use` it does not use.
    pub(super) fn edges(&self) -> BTreeSet<Edge> {
        let mut lines = BTreeMap::new();
        for used in &self.paths {
            let Some(target) = self.resolve(&used.module, &used.path) else {
                continue;
            };
            let file = &self.modules[&used.module].file;
            let words = self.words.get(file);
            let needs = |name: &String| words.is_some_and(|words| words.contains(name));
            let only_passed_on = used.passed_on.as_ref().is_some_and(|name| !needs(name));
            if *file != target && !only_passed_on {
                let line = lines.entry((file.clone(), target)).or_insert(used.line);
                *line = used.line.min(*line);
            }
        }
        lines
            .into_iter()
            .map(|((file, target), line)| (file, line, target))
            .collect()
    }
}

/// The edges among files, as `user:line target`.
fn edges(files: &[(&str, &str)]) -> Vec<String> {
    let edges = Crate::read(files).edges();
    let edge = |(user, line, target): &Edge| format!("{user}:{line} {target}");
    edges.iter().map(edge).collect()
}

#[test]
fn a_use_line_is_followed_however_it_is_written() {
    let others = [
        ("lib.rs", "mod a; mod b;"),
        ("b.rs", "pub struct X; pub fn f() {}"),
    ];
    for line in [
        "use crate::b::X;",
        "use crate::{b::{X, f}};",
        "use super::b::X;",
        "use super::b;",
        "use crate::b::{self};",
        "use crate::b::X as Y;",
        "use crate::b::*;",
        "fn g() { use super::b::f; }",
        "fn g() { crate::b::f() }",
        "fn g(x: Option<super::b::X>) {}",
        "fn g() { log!(\"{}\", super::b::f()) }",
    ] {
        let mut files = others.to_vec();
        files.push(("a.rs", line));
        assert_eq!(edges(&files), ["a.rs:1 b.rs"], "{line}");
    }
}

#[test]
fn a_name_that_is_passed_on_is_followed_to_its_definition() {
    let files = [
        ("room/mod.rs", "mod a;\nmod b;\npub use b::X;\nmod c;"),
        ("room/a.rs", "use super::X;"),
        ("room/b.rs", "pub use super::c::Y;\npub struct X;"),
        ("room/c.rs", "pub struct Y;"),
        ("other.rs", "use crate::room::b::Y as Z;\nfn f() { Z::g() }"),
    ];
    assert_eq!(
        edges(&files),
        ["other.rs:1 room/c.rs", "room/a.rs:1 room/b.rs"]
    );
    let all = [
        ("room/mod.rs", "mod a;\nmod b;\npub use b::*;"),
        ("room/a.rs", "use super::X;"),
        ("room/b.rs", "pub struct X;"),
    ];
    assert_eq!(edges(&all), ["room/a.rs:1 room/b.rs"]);
}

#[test]
fn what_a_file_passes_on_and_needs_itself_it_uses() {
    let files = [
        ("room/mod.rs", "mod b;\npub use b::X;\nfn f(x: X) {}"),
        ("room/b.rs", "pub struct X;"),
    ];
    assert_eq!(edges(&files), ["room/mod.rs:2 room/b.rs"]);
    let files = [
        ("room/mod.rs", "mod b;\npub use b::b;"),
        ("room/b.rs", "pub fn b() {}\npub(in crate::room) fn c() {}"),
    ];
    assert_eq!(edges(&files), Vec::<String>::new());
}

#[test]
fn tests_comments_texts_and_other_crates_are_no_use() {
    let files = [
        ("b.rs", "pub struct X;"),
        (
            "a.rs",
            "//! [crate::b::X]\n/* super::b */ const T: &str = \"crate::b::X\";\n\
             use serde::b::X;\n#[cfg(test)]\nmod tests { use crate::b::X; }\n\
             #[cfg(test)]\nuse super::b;\nfn f() { b::g() }",
        ),
        ("c.rs", "#[cfg(test)]\nmod scripted;"),
        ("c/scripted.rs", "use crate::b;"),
        ("a/tests.rs", "use crate::b;"),
        ("a/tests/more.rs", "use crate::b;"),
    ];
    assert_eq!(edges(&files), Vec::<String>::new());
}

#[test]
fn a_module_inside_a_file_is_that_file() {
    let files = [
        ("b.rs", "pub mod c { pub struct X; }"),
        ("a.rs", "mod d { use super::super::b::c::X; }\nuse d::X;"),
    ];
    assert_eq!(edges(&files), ["a.rs:1 b.rs"]);
}
