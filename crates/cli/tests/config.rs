//! Configuration: which source has the last word, and what a mistake is told.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;

use support::{Ran, ringwood, run};

fn setting(ran: &Ran, key: &str) -> (String, String) {
    let all = ran.json();
    let found = all
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["key"] == key)
        .unwrap();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ringwood.toml");
    fs::write(
        &file,
        "data_dir = \"/from/file\"\n[storage]\nmemory_budget = \"1GiB\"\n[limits]\nvalue_len = 7\n",
    )
    .unwrap();
    let show = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = ringwood(&["-o", "json", "config", "show", "--origin", "--config"]);
        command
            .arg(&file)
            .args(arguments)
            .envs(environment.iter().copied());
        run(&mut command)
    };
    let key = "storage.memory_budget";
    let from_file = format!("file {}", file.display());
    assert_eq!(
        setting(&show(&[], &[]), key),
        ("1GiB".into(), from_file.clone())
    );
    let variable = [("RINGWOOD_STORAGE_MEMORY_BUDGET", "2GiB")];
    let told = setting(&show(&[], &variable), key);
    assert_eq!(
        told,
        (
            "2GiB".into(),
            "environment RINGWOOD_STORAGE_MEMORY_BUDGET".into()
        )
    );
    let told = setting(&show(&["--memory-budget", "3GiB"], &variable), key);
    assert_eq!(told, ("3GiB".into(), "flag --memory-budget".into()));
    let told = setting(
        &show(&["--set", "storage.memory_budget=4GiB"], &variable),
        key,
    );
    assert_eq!(told, ("4GiB".into(), "flag --set".into()));

    let all = show(&[], &[]);
    assert_eq!(
        setting(&all, "data_dir"),
        ("/from/file".into(), from_file.clone())
    );
    assert_eq!(setting(&all, "limits.value_len"), ("7B".into(), from_file));
    assert_eq!(
        setting(&all, "listen"),
        ("127.0.0.1:7400".into(), "default".into())
    );
}

#[test]
fn mistakes_are_named_with_a_suggestion_and_start_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ringwood.toml");
    let data = directory.path().join("data");
    let serve = |text: &str, environment: &[(&str, &str)]| {
        fs::write(&file, text).unwrap();
        let mut command = ringwood(&["serve", "--data-dir"]);
        command
            .arg(&data)
            .arg("--config")
            .arg(&file)
            .envs(environment.iter().copied());
        run(&mut command)
    };
    for (text, environment, told) in [
        (
            "lisen = \"127.0.0.1:0\"",
            &[][..],
            "did you mean \"listen\"?",
        ),
        (
            "[storage]\nmemory_buget = 1",
            &[],
            "did you mean \"storage.memory_budget\"?",
        ),
        ("[storag]\nmemory_budget = 1", &[], "unknown key \"storag"),
        (
            "",
            &[("RINGWOOD_STORAGE_MEMORY_BUGET", "1")],
            "did you mean \"RINGWOOD_STORAGE_MEMORY_BUDGET\"?",
        ),
        (
            "[storage]\nmemory_budget = \"much\"",
            &[],
            "storage.memory_budget in file",
        ),
        ("listen = ", &[], "ringwood.toml"),
        ("[storage]\ncompression = \"zip\"", &[], "is no compression"),
    ] {
        let refused = serve(text, environment);
        assert_eq!(refused.code, 2, "{text}: {refused:?}");
        assert!(refused.err.contains(told), "{text}: {refused:?}");
        assert!(refused.out.is_empty(), "{refused:?}");
    }
    // `config show` says what `serve` would.
    fs::write(&file, "[storage]\nmemory_budget = \"64KiB\"").unwrap();
    let shown = run(ringwood(&["config", "show", "--config"]).arg(&file));
    assert_eq!(shown.code, 2, "{shown:?}");
    assert!(
        shown.err.contains("storage.memory_budget in file") && shown.out.is_empty(),
        "{shown:?}"
    );
    let gone = run(&mut ringwood(&[
        "serve",
        "--config",
        "/nowhere/ringwood.toml",
    ]));
    assert_eq!(gone.code, 2, "{gone:?}");
    assert!(!data.exists(), "nothing was started");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut ringwood(&["completions", shell]));
        assert_eq!(script.code, 0);
        assert!(script.out.contains("import"), "{shell}");
    }
}

#[test]
fn what_can_never_be_stored_is_refused_by_show_and_serve_alike() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for (setting, told) in [
        ("limits.value_len=16MiB", "must be at most 16776933 bytes"),
        ("limits.connections=0", "must be at least 1"),
    ] {
        let show = run(&mut ringwood(&["config", "show", "--set", setting]));
        let mut serve = ringwood(&["serve", "--set", setting, "--data-dir"]);
        let serve = run(serve.arg(&data));
        for ran in [&show, &serve] {
            assert_eq!(ran.code, 2, "{setting}: {ran:?}");
            assert!(ran.err.contains(told), "{setting}: {ran:?}");
        }
        assert_eq!(show.err, serve.err);
        assert!(!data.exists());
    }
}
