//! The table of default plugins in `docs/plugins.md` is what the components say
//! of themselves. With `PINTLE_UPDATE_DOCS=1` the test writes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::artifact::{Artifact, Artifacts};
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::cni::CniPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::types::{KindRef, Manifest};
use crate::budget::Budgets;
use crate::compile::Compiler;
use crate::engine::Wasm;
use crate::plugin::Role;
use crate::program::admission_interface::{Operation, Rule};
use crate::program::{GrantPolicy, Ingredients, LoadError, Program, World};

const BEGIN: &str = "<!-- default plugins: begin -->\n";
const END: &str = "<!-- default plugins: end -->";

/// Of which no plugin has a setting.
const NO_SETTING: &str = "?";

#[test]
fn the_documented_default_plugins_are_those_that_are_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let document = root.join("docs/plugins.md");
    let text = std::fs::read_to_string(&document).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (documented, after) = rest.split_once(END).expect("the mark after the table");
    let table = table(&root);
    if std::env::var_os("PINTLE_UPDATE_DOCS").is_some() {
        std::fs::write(&document, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            documented, table,
            "docs/plugins.md is out of date; run this test with PINTLE_UPDATE_DOCS=1"
        );
    }
}

fn table(root: &Path) -> String {
    let plugins = std::fs::read_dir(root.join("plugins")).unwrap();
    let names: BTreeSet<String> = plugins
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let packages: Vec<String> = names.iter().map(|name| format!("pintle-plugin-{name}")).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    // Where the binary's build puts them, so that this is no second build.
    let built = pintle_plugin_build::build(root, &packages, &root.join("target/guests")).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let wasm = Wasm::new().unwrap();
    let artifacts = Artifacts::open(wasm.clone(), cache.path(), Compiler::InProcess).unwrap();
    let mut text = String::from(
        "| Plugin | Role | Looks at | Needs | `spec.config` |\n|---|---|---|---|---|\n",
    );
    for (name, built) in names.iter().zip(built) {
        let component = std::fs::read(&built.path).unwrap();
        let roles = [Role::Admission, Role::Cni, Role::Controller, Role::Scheduler];
        let artifact = roles
            .into_iter()
            .find_map(|role| artifacts.load(&component, None, role).ok())
            .expect("a default plugin has a role");
        let plugin = Plugin { wasm: &wasm, artifact: &artifact };
        let (watches, manifest) = plugin.describe(&json!({})).unwrap();
        let _ = writeln!(
            text,
            "| `{name}` | {} | {} | {} | {} |",
            artifact.role,
            or_nothing(watches),
            or_nothing(needs(&manifest)),
            or_nothing(plugin.settings(&[])),
        );
    }
    text
}

fn or_nothing(entries: Vec<String>) -> String {
    if entries.is_empty() { "nothing".to_owned() } else { entries.join("<br>") }
}

fn needs(manifest: &Manifest) -> Vec<String> {
    let need = |need: &crate::bindings::types::Grant| {
        format!("{}: {}", kind(Some(&need.kind)), need.verbs.join(", "))
    };
    manifest.needs.iter().map(need).collect()
}

fn kind(kind: Option<&KindRef>) -> String {
    match kind {
        None => "every kind".to_owned(),
        Some(kind) if kind.kind == "*" => "every kind".to_owned(),
        Some(kind) => kind.kind.clone(),
    }
}

struct Plugin<'a> {
    wasm: &'a Arc<Wasm>,
    artifact: &'a Artifact,
}

impl Plugin<'_> {
    /// What it looks at, and its manifest.
    fn describe(&self, config: &Value) -> Result<(Vec<String>, Manifest), LoadError> {
        let unique = |kinds: Vec<String>| {
            let mut seen = BTreeSet::new();
            kinds.into_iter().filter(|kind| seen.insert(kind.clone())).collect()
        };
        Ok(match self.artifact.role {
            Role::Controller => {
                let description = self.load::<ControllerPlugin>(config)?;
                let watched = description.watches.iter().map(|watch| {
                    let having = watch.having.as_ref();
                    let having = having.map(|path| format!(" with `{path}`")).unwrap_or_default();
                    format!("{}{having}", kind(watch.kind.as_ref()))
                });
                (unique(watched.collect()), description.manifest)
            }
            Role::Scheduler => {
                let description = self.load::<SchedulerPlugin>(config)?;
                let mut watched = vec!["Node".to_owned(), "Pod".to_owned()];
                watched.extend(description.watches.iter().map(|watched| kind(Some(watched))));
                (unique(watched), description.manifest)
            }
            Role::Admission => {
                let description = self.load::<AdmissionPlugin>(config)?;
                let rules = description.mutating.iter().chain(&description.validating);
                (unique(rules.map(rule).collect()), description.manifest)
            }
            Role::Cni => (Vec::new(), self.load::<CniPlugin>(config)?.manifest),
        })
    }

    fn load<W: World>(&self, config: &Value) -> Result<W::Description, LoadError> {
        let ingredients = Ingredients {
            name: "documented".into(),
            config: Bytes::from(config.to_string()),
            budgets: Budgets::of_role(W::ROLE),
            grants: GrantPolicy::AsNeeded,
            cluster: None,
            metrics: Arc::default(),
        };
        Ok(Program::<W>::load(self.wasm, self.artifact, ingredients)?.description)
    }

    /// Asks for a setting that nobody has, and reads the others in the refusal.
    fn settings(&self, path: &[String]) -> Vec<String> {
        let config =
            path.iter().rev().fold(json!({ NO_SETTING: 0 }), |inner, name| json!({ name: inner }));
        let Err(LoadError::Config(refusal)) = self.describe(&config) else {
            return vec![format!("`{}`", path.join("."))];
        };
        let Some((_, known)) = refusal.split_once(&format!("unknown field `{NO_SETTING}`")) else {
            // Of another type than an object.
            return vec![format!("`{}`", path.join("."))];
        };
        let names = known.split('`').skip(1).step_by(2);
        names
            .flat_map(|name| {
                let mut path = path.to_vec();
                path.push(name.to_owned());
                self.settings(&path)
            })
            .collect()
    }
}

fn rule(rule: &Rule) -> String {
    let names = [
        (Operation::CREATE, "create"),
        (Operation::UPDATE, "update"),
        (Operation::DELETE, "delete"),
        (Operation::CONNECT, "connect"),
    ];
    let operations: Vec<&str> =
        names.iter().filter(|(flag, _)| rule.operations.contains(*flag)).map(|(_, n)| *n).collect();
    let subresource = match rule.subresource.as_str() {
        "" => String::new(),
        subresource => format!("/{subresource}"),
    };
    format!("{} of {}{subresource}", operations.join(", "), kind(rule.kind.as_ref()))
}
