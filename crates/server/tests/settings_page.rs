//! `docs/settings.md` is what the tables of settings say: written from them, and held to them.

use std::fmt::Write;
use std::path::Path;

use apogee_base::settings::{Change, Setting, Settings};
use apogee_broker::settings::BrokerSettings;
use apogee_controller::ControllerSettings;
use apogee_namesrv::settings::NamesrvSettings;

const HEAD: &str = "\
# Settings

All settings, written from the tables that the program reads them by; [configure](configure.md) tells how to set them.
`UPDATE_DOCS=1 cargo test -p apogee-server --test settings_page` writes this page anew.

A change takes effect:

- **live**: at once, by `updateBrokerConfig`, `updateNamesrvConfig` or `updateControllerConfig`, and it is kept for later starts;
- **restart**: at the next start; refused as a remote change;
- **local**: at the next start, and only by file or command line: it names a path or an address.

Upstream's other keys are accepted, so that its files can be used as they are, and named once at the start as having no
effect. A key that nobody knows is refused.
";

/// A setting's default; nothing of the machine that the page is written on.
fn default<S: Settings>(key: &str) -> String {
    let value = S::default().get(key).unwrap_or_default();
    match std::env::var("HOME") {
        Ok(home) if !home.is_empty() => value.strip_prefix(&home).map(|rest| format!("$HOME{rest}")).unwrap_or(value),
        _ => value,
    }
}

/// `1_000..=600_000` as people write it.
fn bounds(setting: &Setting) -> String {
    let text = setting.bounds.replace('_', "");
    match text.split_once("..=").map(|(least, most)| (least.trim(), most.trim())) {
        Some((least, most)) if least == most => format!(" {least}"),
        Some((least, most)) => format!(" {least} to {most}"),
        None => String::new(),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

fn section<S: Settings>(page: &mut String, title: &str, about: &str) {
    let _ = write!(
        page,
        "\n## {title}\n\n{about}\n\n| key | default | accepted | change | meaning |\n|---|---|---|---|---|\n"
    );
    let mut settings: Vec<_> = S::table().iter().collect();
    settings.sort_by_key(|setting| setting.key);
    for setting in settings {
        let change = match setting.change {
            Change::Live => "live",
            Change::Restart => "restart",
            Change::Local => "local",
        };
        let meaning = setting.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let default = code(&default::<S>(setting.key));
        let _ = writeln!(page, "| `{}` | {default} |{} | {change} | {meaning} |", setting.key, bounds(setting));
    }
    let mut pinned = S::pinned().to_vec();
    pinned.sort_unstable();
    let pinned: Vec<_> = pinned.iter().map(|(key, value)| format!("`{key}={value}`")).collect();
    let _ = write!(page, "\nOf these only the value given here is accepted yet: {}.\n", pinned.join(", "));
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    section::<BrokerSettings>(&mut page, "Broker", "For `apogee broker` and `apogee server`.");
    section::<NamesrvSettings>(
        &mut page,
        "Name server",
        "For `apogee namesrv` and `apogee server`. Where `server` knows a key of both, it is set for both; ports and \
         paths are then given by `--namesrv-port`, `--broker-port` and `--data`.",
    );
    section::<ControllerSettings>(
        &mut page,
        "Controller",
        "For `apogee controller`, and for `apogee namesrv` with `enableControllerInNamesrv=true`, whose file names them \
         beside its own. [Controllers](controller.md) tells what they do.",
    );
    page
}

#[test]
fn the_page_of_settings_is_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = page.lines().zip(written.lines()).find(|(ours, theirs)| ours != theirs);
    assert!(
        page == written,
        "docs/settings.md is not what the tables say: first {differs:?}; write it anew with\n\
         UPDATE_DOCS=1 cargo test -p apogee-server --test settings_page"
    );
}
