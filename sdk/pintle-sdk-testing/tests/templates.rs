//! The projects that `pintle plugin new` makes build and pass their own tests.

use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Lays a template out as a project, as the command does.
fn lay_out(template: &Path, project: &Path, name: &str) {
    for entry in std::fs::read_dir(template).unwrap() {
        let from = entry.unwrap().path();
        let file = from.file_name().unwrap().to_str().unwrap();
        let to = project.join(if file == "gitignore" { ".gitignore" } else { file });
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            lay_out(&from, &to, name);
            continue;
        }
        let text = std::fs::read_to_string(&from)
            .unwrap()
            .replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{sdk}}", repository().join("sdk").to_str().unwrap());
        assert!(!text.contains("{{"), "{}: a placeholder is left", from.display());
        std::fs::write(to, text).unwrap();
    }
}

#[test]
fn every_template_builds_and_passes() {
    let repository = repository();
    let templates = repository.join("sdk/templates");
    // One for all templates, kept between runs: the SDK is compiled once.
    let target = repository.join("target/templates");
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&templates).unwrap() {
        let template = entry.unwrap().path();
        let role = template.file_name().unwrap().to_str().unwrap().to_owned();
        let name = format!("my-{role}");
        let project = folder.path().join(&name);
        std::fs::create_dir_all(&project).unwrap();
        lay_out(&template, &project, &name);
        // The versions that the workspace uses; cargo drops what is not needed.
        std::fs::copy(repository.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
        let output = Command::new(env!("CARGO"))
            .args(["test", "--offline", "--quiet", "--target-dir"])
            .arg(&target)
            .current_dir(&project)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{role}:\n{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        assert!(!text(&output.stderr).contains("warning:"), "{role}:\n{}", text(&output.stderr));
        found.push(role);
    }
    found.sort();
    let roles =
        ["admission", "authorizer", "cni", "controller", "scheduler", "scheduler-extension"];
    assert_eq!(found, roles, "one for each role");
}
