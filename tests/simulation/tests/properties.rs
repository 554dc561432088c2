//! What must hold for every controller by itself, on worlds that random histories
//! left in the middle: it comes to rest, whatever goes wrong; at rest it decides
//! nothing; it never undoes what it did; the same question has one answer.

use std::collections::BTreeSet;
use std::path::Path;

use pintle_sdk_testing::{World, properties};
use pintle_simulation::{Cast, Simulation};

/// How many worlds, each with everything that people make.
const WORLDS: u64 = 6;

/// Controllers that work on what no history here has; their own tests have the
/// same properties.
const ELSEWHERE: &[&str] = &[
    "certificate-approver",
    "certificate-cleaner",
    "certificate-signer",
    "clusterrole-aggregation",
    "service-cidrs",
];

fn plugins() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

fn worlds() -> Vec<World> {
    let cast = Cast::native();
    (0..WORLDS).map(|seed| Simulation::new(&cast, 7000 + seed).in_the_middle()).collect()
}

#[test]
fn no_controller_is_left_out() {
    let folders = std::fs::read_dir(plugins()).unwrap().flatten();
    let controllers: BTreeSet<String> = folders
        .filter(|plugin| {
            let code = std::fs::read_to_string(plugin.path().join("src/lib.rs"));
            code.is_ok_and(|code| code.contains("export_controller!"))
        })
        .map(|plugin| plugin.file_name().to_string_lossy().into_owned())
        .collect();
    let cast = Cast::native();
    let here: BTreeSet<String> = cast.controllers().map(|(name, ..)| name.to_owned()).collect();
    for name in &controllers {
        if here.contains(name) {
            continue;
        }
        assert!(ELSEWHERE.contains(&name.as_str()), "{name} is in no simulation and in no list");
        let tests = std::fs::read_dir(plugins().join(name).join("tests")).unwrap().flatten();
        let code: String =
            tests.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        for property in ["properties::is_idempotent", "properties::converges"] {
            assert!(code.contains(property), "the tests of {name} have no {property}");
        }
    }
    assert!(here.is_subset(&controllers), "{here:?} are not all controllers");
}

#[test]
fn every_controller_comes_to_rest_and_stays_there() {
    let worlds = worlds();
    for (_, subject, config) in Cast::native().controllers() {
        for world in &worlds {
            properties::converges(subject, &config, world, 0..3, |_| {});
        }
    }
}

#[test]
fn no_controller_undoes_what_it_did() {
    let worlds = worlds();
    for (_, subject, config) in Cast::native().controllers() {
        for world in &worlds {
            properties::does_not_flap(subject, &config, world);
        }
    }
}

#[test]
fn every_controller_has_one_answer() {
    let worlds = worlds();
    for (_, subject, config) in Cast::native().controllers() {
        for world in &worlds {
            properties::is_deterministic(subject, &config, world);
        }
    }
}
