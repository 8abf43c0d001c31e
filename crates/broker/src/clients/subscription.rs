//! What a client wants of a topic.

use apogee_message::tag::java_hash;
use apogee_wire::bodies::SubscriptionData;

/// The expression that wants everything.
pub const ALL: &str = "*";
/// The expression type of tags; a subscription without a type is of this one.
pub const TAG: &str = "TAG";

/// A subscription, ready to be asked about messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    data: SubscriptionData,
    /// Hash codes of the tags wanted, in order; None: all messages.
    codes: Option<Box<[i32]>>,
}

impl Subscription {
    /// The subscription that a client sent. Codes that the client left out are computed from the
    /// expression.
    pub fn new(data: SubscriptionData) -> Self {
        let codes = if !is_tag(&data) || data.class_filter_mode || wants_all(&data) {
            None
        } else if data.code_set.is_empty() {
            let mut codes: Vec<i32> = tags(data.sub_string.as_deref().unwrap_or_default()).map(java_hash).collect();
            codes.sort_unstable();
            codes.dedup();
            Some(codes.into())
        } else {
            Some(data.code_set.iter().copied().collect())
        };
        Self { data, codes }
    }

    /// The subscription to the tags of an expression such as `TagA || TagB`.
    pub fn to_tags(topic: &str, expression: &str, version: i64) -> Self {
        let expression = if expression.trim().is_empty() { ALL } else { expression };
        let tags = || tags(expression).filter(|_| expression != ALL);
        Self::new(SubscriptionData {
            topic: topic.to_owned(),
            sub_string: Some(expression.to_owned()),
            tags_set: tags().map(str::to_owned).collect(),
            code_set: tags().map(java_hash).collect(),
            sub_version: version,
            ..SubscriptionData::default()
        })
    }

    /// Whether a tag expression is made of separators alone: then it is none.
    pub fn is_only_bars(expression: &str) -> bool {
        !expression.is_empty() && expression.split("||").all(str::is_empty)
    }

    /// As the client sent it.
    pub fn data(&self) -> &SubscriptionData {
        &self.data
    }

    /// Whether tags decide, and not a SQL92 expression.
    pub fn is_by_tag(&self) -> bool {
        is_tag(&self.data)
    }

    /// The hash codes of the tags wanted, in order; None: all messages, as far as tags decide.
    pub fn codes(&self) -> Option<&[i32]> {
        self.codes.as_deref()
    }

    /// Whether a message with that tag code may be wanted. Different tags can have the same code:
    /// clients compare the tags themselves.
    pub fn wants(&self, tag_code: i64) -> bool {
        // A code is a 32-bit hash, whatever the width it is stored in.
        self.codes.as_ref().is_none_or(|codes| codes.binary_search(&(tag_code as i32)).is_ok())
    }

    /// The expression as a person writes it.
    pub fn expression(&self) -> &str {
        self.data.sub_string.as_deref().filter(|text| !text.is_empty()).unwrap_or(ALL)
    }

    /// Whether both let through the same messages.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.is_by_tag() == other.is_by_tag()
            && self.data.class_filter_mode == other.data.class_filter_mode
            && self.codes == other.codes
            && (self.is_by_tag() || self.expression() == other.expression())
    }
}

fn is_tag(data: &SubscriptionData) -> bool {
    data.expression_type.as_deref().is_none_or(|kind| kind.is_empty() || kind == TAG)
}

fn wants_all(data: &SubscriptionData) -> bool {
    match data.sub_string.as_deref() {
        Some(text) => text == ALL || (data.code_set.is_empty() && tags(text).next().is_none()),
        None => data.code_set.is_empty(),
    }
}

fn tags(expression: &str) -> impl Iterator<Item = &str> {
    expression.split("||").map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG_A: i64 = 2_598_919;
    const TAG_B: i64 = 2_598_920;

    fn sent(expression: Option<&str>, codes: &[i32]) -> Subscription {
        Subscription::new(SubscriptionData {
            topic: "T".into(),
            sub_string: expression.map(str::to_owned),
            code_set: codes.iter().copied().collect(),
            ..SubscriptionData::default()
        })
    }

    #[test]
    fn tags_decide_by_their_codes() {
        for subscription in [
            sent(Some("TagA || x"), &[2_598_919, 120]),
            sent(Some("x||TagA"), &[]),
            Subscription::to_tags("T", " TagA||x ", 7),
        ] {
            assert!(subscription.wants(TAG_A) && subscription.wants(120), "{subscription:?}");
            assert!(!subscription.wants(TAG_B) && !subscription.wants(0), "{subscription:?}");
        }
    }

    #[test]
    fn negative_codes_are_found() {
        let subscription = Subscription::to_tags("T", "polygenelubricants || TagA", 0);
        assert!(subscription.wants(-2_147_483_648) && subscription.wants(TAG_A));
    }

    #[test]
    fn everything_is_wanted_with_a_star_or_without_an_expression() {
        for subscription in [
            sent(Some("*"), &[]),
            sent(Some(""), &[]),
            sent(Some(" || "), &[]),
            sent(None, &[]),
            Subscription::to_tags("T", "*", 0),
            Subscription::to_tags("T", "", 0),
        ] {
            assert!(subscription.wants(TAG_A) && subscription.wants(0), "{subscription:?}");
            assert!(subscription.data().code_set.is_empty());
        }
    }

    #[test]
    fn bars_alone_are_no_expression() {
        assert!(["||", "||||"].iter().all(|text| Subscription::is_only_bars(text)));
        assert!(["", "*", " || ", "|||", "a||"].iter().all(|text| !Subscription::is_only_bars(text)));
    }

    #[test]
    fn tags_do_not_decide_for_sql() {
        let data = SubscriptionData {
            expression_type: Some("SQL92".into()),
            sub_string: Some("a > 3".into()),
            ..SubscriptionData::default()
        };
        let sql = Subscription::new(data);
        assert!(sql.wants(TAG_A) && !sql.is_by_tag());
        assert!(!sql.is_alike(&Subscription::to_tags("T", "*", 0)));
    }

    #[test]
    fn the_order_of_tags_makes_no_difference() {
        let written = Subscription::to_tags("T", "a || b", 1);
        assert!(written.is_alike(&Subscription::to_tags("T", "b||a", 2)));
        assert!(!written.is_alike(&Subscription::to_tags("T", "a", 1)));
    }
}
