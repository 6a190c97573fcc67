use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::harness::{cargo, workspace};

/// The documents whose commands must work.
const DOCUMENTS: [&str; 10] = [
    "README.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "docs/ai.md",
    "docs/learning.md",
    "docs/backup.md",
    "docs/postgres.md",
    "docs/redis.md",
    "examples/README.md",
    "benches/README.md",
];

fn text_of(document: &str) -> String {
    let path = workspace().join(document);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The lines of code blocks and the code within lines.
fn code(text: &str) -> Vec<String> {
    let mut code = Vec::new();
    let mut is_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            code.push(line.to_owned());
        } else {
            code.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    code
}

/// The words after each of these, in all the code of a document.
fn words_after(document: &str, before: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for code in code(&text_of(document)) {
        let words: Vec<_> = code.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| pair[0] == before) {
            found.insert(pair[1].to_owned());
        }
    }
    found
}

#[test]
fn every_script_that_is_named_is_there_and_can_be_run() {
    let mut scripts = BTreeSet::new();
    for document in DOCUMENTS {
        for code in code(&text_of(document)) {
            let first = code.split_whitespace().next().unwrap_or_default();
            scripts.extend(first.strip_prefix("./").map(str::to_owned));
        }
    }
    assert!(scripts.contains("tests/run"), "{scripts:?}");
    for script in scripts {
        let mode = workspace()
            .join(&script)
            .metadata()
            .unwrap_or_else(|why| panic!("{script}: {why}"));
        assert!(
            mode.permissions().mode() & 0o111 != 0,
            "{script} cannot be run"
        );
    }
}

#[test]
fn every_example_package_and_recipe_that_is_named_exists() {
    let metadata: Value =
        serde_json::from_str(&cargo(["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names = |items: Vec<&Value>| -> BTreeSet<String> {
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let targets = packages
        .iter()
        .flat_map(|package| package["targets"].as_array().unwrap());
    let examples = names(
        targets
            .filter(|target| target["kind"][0] == "example")
            .collect(),
    );
    let programs = packages
        .iter()
        .flat_map(|package| package["targets"].as_array().unwrap());
    let programs = names(
        programs
            .filter(|target| target["kind"][0] == "bin")
            .collect(),
    );
    let packages = names(packages.iter().collect());
    let recipes: BTreeSet<String> = text_of("justfile")
        .lines()
        .filter(|line| !line.starts_with([' ', '#']))
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(head, _)| head.split_whitespace().next().map(str::to_owned))
        .collect();
    for document in DOCUMENTS {
        for (before, known) in [
            ("--bin", &programs),
            ("--example", &examples),
            ("-p", &packages),
            ("just", &recipes),
        ] {
            let named = words_after(document, before);
            let unknown: Vec<_> = named.difference(known).collect();
            assert!(unknown.is_empty(), "{document} says {before} {unknown:?}");
        }
    }
    assert!(words_after("README.md", "--example").contains("server"));
}

#[test]
fn every_manifest_that_is_named_is_there() {
    let mut manifests = BTreeSet::new();
    for document in DOCUMENTS {
        manifests.extend(words_after(document, "--manifest-path"));
    }
    assert!(!manifests.is_empty());
    for manifest in manifests {
        assert!(workspace().join(&manifest).is_file(), "{manifest}");
    }
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    for document in DOCUMENTS {
        let folder = Path::new(document).parent().unwrap();
        for target in text_of(document)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                let path = workspace().join(folder).join(file);
                assert!(path.exists(), "{document} links to {target}");
            }
        }
    }
}
