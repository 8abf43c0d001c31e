use super::*;

crate::words! {
    /// How it goes.
    pub enum Gait { Slow = "SLOW_WALK", Fast = "FAST_RUN" }
}

crate::settings! {
    /// A table to test with.
    pub struct Sample {
        /// Name of it.
        name: String = "theName", "x".into(), Restart;
        /// Port of it.
        port: u16 = "listenPort", 10911, Local, 1..;
        /// How it walks.
        gait: Gait = "gait", Gait::Slow, Live;
    }
    pinned { "role" = "MASTER" }
    inert: &[("jvmThing", "8")]
}

#[test]
fn values_are_typed_and_bounded() {
    let mut sample = Sample::default();
    assert_eq!(sample.set("listenPort", "123"), Ok(Effect::Set));
    assert_eq!(sample.set("gait", "fast_run"), Ok(Effect::Set));
    assert_eq!((sample.port, sample.gait), (123, Gait::Fast));
    let refused = |sample: &mut Sample, key, value| sample.set(key, value).expect_err("refused").to_string();
    assert_eq!(refused(&mut sample, "listenPort", "0"), "`listenPort=0`: out of bounds; accepted is 1..");
    assert_eq!(refused(&mut sample, "listenPort", "many"), "`listenPort=many`: not a number of type u16");
    assert_eq!(refused(&mut sample, "gait", "x"), "`gait=x`: accepted are SLOW_WALK, FAST_RUN");
    assert_eq!(sample.port, 123);
}

#[test]
fn a_mistyped_key_names_the_nearest() {
    let error = Sample::default().set("lisenPort", "1").expect_err("unknown");
    assert_eq!(error.to_string(), "unknown setting `lisenPort`; did you mean `listenPort`?");
    let error = Sample::default().set("qwertz", "1").expect_err("unknown");
    assert_eq!(error.to_string(), "unknown setting `qwertz`");
}

#[test]
fn inert_keys_are_accepted_and_pinned_ones_only_at_their_value() {
    let mut sample = Sample::default();
    assert_eq!(sample.set_pair("jvmThing = 16"), Ok(Some("jvmThing".into())));
    assert_eq!(sample.set("role", "master"), Ok(Effect::Set));
    assert!(matches!(sample.set("role", "SLAVE"), Err(SettingError::Unsupported { accepted: "MASTER", .. })));
    assert!(matches!(sample.set_pair("noequals"), Err(SettingError::NotAPair(_))));
}

#[test]
fn a_file_error_names_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.conf");
    std::fs::write(&path, "theName=y\n# c\njvmThing=1\nlistenPort=no\n").expect("written");
    let error = Sample::default().read_file(&path).expect_err("refused").to_string();
    assert!(error.contains("a.conf:4: `listenPort=no`"), "{error}");
    std::fs::write(&path, "theName=y\njvmThing=1\n").expect("written");
    let mut sample = Sample::default();
    assert_eq!(sample.read_file(&path), Ok(vec!["jvmThing".to_owned()]));
    assert_eq!(sample.name, "y");
}

#[test]
fn the_description_is_a_file_that_reads_back() {
    let mut sample = Sample::default();
    sample.set("theName", "a\\b").expect("accepted");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.conf");
    std::fs::write(&path, sample.describe()).expect("written");
    let mut again = Sample::default();
    assert_eq!(again.read_file(&path), Ok(vec![]));
    assert_eq!(again.name, "a\\b");
    assert_eq!(again.all()["jvmThing"], "8");
}
