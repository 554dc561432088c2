//! The table of default plugins in `docs/plugins.md`, and what the server knows of
//! its embedded admission plugins before they are compiled, are what the components
//! say of themselves. With `PINTLE_UPDATE_DOCS=1` the test writes both anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::inspect::inspect;
use crate::plugin::{GrantRule, ReviewRule};

const BEGIN: &str = "<!-- default plugins: begin -->\n";
const END: &str = "<!-- default plugins: end -->";

/// Below the root of the workspace.
const REVIEWS: &str = "runtime/pintle/src/reviews.json";

#[test]
fn the_documented_default_plugins_are_those_that_are_built() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let document = root.join("docs/plugins.md");
    let text = std::fs::read_to_string(&document).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the table");
    let (documented, after) = rest.split_once(END).expect("the mark after the table");
    let (table, reviews) = table(&root);
    let reviews = format!("{}\n", serde_json::to_string_pretty(&reviews).unwrap());
    if std::env::var_os("PINTLE_UPDATE_DOCS").is_some() {
        std::fs::write(&document, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        std::fs::write(root.join(REVIEWS), reviews).unwrap();
    } else {
        assert_eq!(
            std::fs::read_to_string(root.join(REVIEWS)).unwrap(),
            reviews,
            "{REVIEWS} is out of date; run this test with PINTLE_UPDATE_DOCS=1"
        );
        assert_eq!(
            documented, table,
            "docs/plugins.md is out of date; run this test with PINTLE_UPDATE_DOCS=1"
        );
    }
}

/// The table, and the rules of admission plugins by name.
fn table(root: &Path) -> (String, BTreeMap<String, Vec<ReviewRule>>) {
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
    let mut text = String::from(
        "| Plugin | For | Role | Looks at | Needs | `spec.config` |\n|---|---|---|---|---|---|\n",
    );
    let mut reviews = BTreeMap::new();
    for (name, built) in names.iter().zip(built) {
        let component = std::fs::read(&built.path).unwrap();
        let inspection = inspect(&component).unwrap();
        let role = inspection.role.expect("a default plugin has a role");
        let said = inspection.described.expect("a default plugin describes itself");
        let settings = said.settings.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            text,
            "| `{name}` | {} | {role} | {} | {} | {} |",
            description(&root.join("plugins").join(name)),
            or_nothing(said.looks_at),
            or_nothing(said.needs.iter().map(need).collect()),
            or_nothing(settings),
        );
        if !said.reviews.is_empty() {
            reviews.insert(name.clone(), said.reviews);
        }
    }
    (text, reviews)
}

/// Of the package in that folder.
fn description(folder: &Path) -> String {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let line = manifest.lines().find_map(|line| line.strip_prefix("description = \""));
    line.expect("a plugin's package has a description").trim_end_matches('"').to_owned()
}

fn or_nothing(entries: Vec<String>) -> String {
    if entries.is_empty() { "nothing".to_owned() } else { entries.join("<br>") }
}

fn need(need: &GrantRule) -> String {
    let kinds = match need.kinds.join(", ").as_str() {
        "*" => "every kind".to_owned(),
        kinds => kinds.to_owned(),
    };
    format!("{kinds}: {}", need.verbs.join(", "))
}
