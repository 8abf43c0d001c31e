//! Names of protocol versions (upstream `MQVersion`).

/// Number of V4_0_0; every release and the preview before it take two numbers, ten patches a minor
/// version, ten minor versions a major one.
const V4_0_0: i32 = 213;
const V5_9_9: i32 = 611;

/// The release that a peer's version number stands for, such as `V5_5_0`.
pub fn name(version: i32) -> String {
    match version {
        // Numbers of the third major version don't follow the rule; those clients are history.
        ..V4_0_0 => format!("V3({version})"),
        V4_0_0..=V5_9_9 => {
            let ahead = (version - V4_0_0 + 1) / 2;
            let preview = if (version - V4_0_0) % 2 == 1 { "_SNAPSHOT" } else { "" };
            format!("V{}_{}_{}{preview}", 4 + ahead / 100, ahead / 10 % 10, ahead % 10)
        }
        _ => "HIGHER_VERSION".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn versions_have_upstream_s_names() {
        let known = [(213, "V4_0_0"), (401, "V4_9_4"), (413, "V5_0_0"), (513, "V5_5_0"), (611, "V5_9_9")];
        for (number, text) in known {
            assert_eq!(name(number), text);
        }
        assert_eq!((name(512), name(612)), ("V5_5_0_SNAPSHOT".to_owned(), "HIGHER_VERSION".to_owned()));
    }
}
