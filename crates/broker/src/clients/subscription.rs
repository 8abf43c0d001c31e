//! What a client wants of a topic.

use apogee_filter::{Expression, MessageVariables, SyntaxError};
use apogee_message::names::property;
use apogee_message::record::Record;
use apogee_message::tag::java_hash;
use apogee_store::{Filter, Verdict};
use apogee_wire::bodies::SubscriptionData;

/// The expression that wants everything.
pub const ALL: &str = "*";
/// The expression type of tags; a subscription without a type is of this one.
pub const TAG: &str = "TAG";
/// The expression type of expressions over properties.
pub const SQL92: &str = "SQL92";

/// A subscription, ready to be asked about messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    data: SubscriptionData,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    All,
    /// Hash codes of the tags wanted, in order.
    Tags(Box<[i32]>),
    Sql {
        expression: Result<Expression, SyntaxError>,
        /// Hash codes of the tags of which a message must have one, in order; `None`: any may match.
        codes: Option<Box<[i32]>>,
    },
    /// An expression type that the broker does not know.
    Unknown,
}

/// Why the broker cannot filter by a subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Expressions of this type are not evaluated.
    #[error("The broker does not support consumer to filter message by {0}")]
    Type(String),
    /// The expression has an error.
    #[error("{0}")]
    Syntax(SyntaxError),
}

impl Subscription {
    /// The subscription that a client sent. Codes that the client left out are computed from the
    /// expression; a SQL92 expression is compiled.
    pub fn new(data: SubscriptionData) -> Self {
        let wanted = match data.expression_type.as_deref() {
            Some(SQL92) => {
                let expression = Expression::compile(data.sub_string.as_deref().unwrap_or_default());
                let tags = expression.as_ref().ok().and_then(|expression| expression.texts_of(property::TAGS));
                Wanted::Sql { codes: tags.map(|tags| codes(tags.into_iter())), expression }
            }
            Some(kind) if !kind.is_empty() && kind != TAG => Wanted::Unknown,
            _ if data.class_filter_mode || wants_all(&data) => Wanted::All,
            _ if data.code_set.is_empty() => Wanted::Tags(codes(tags(data.sub_string.as_deref().unwrap_or_default()))),
            _ => Wanted::Tags(data.code_set.iter().copied().collect()),
        };
        Self { data, wanted }
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

    /// The subscription by an expression of a type.
    pub fn by(kind: &str, topic: &str, expression: &str, version: i64) -> Self {
        if kind.is_empty() || kind == TAG {
            return Self::to_tags(topic, expression, version);
        }
        Self::new(SubscriptionData {
            topic: topic.to_owned(),
            sub_string: Some(expression.to_owned()),
            expression_type: Some(kind.to_owned()),
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

    /// Whether the broker can filter by it. `by_properties`: it evaluates SQL92 expressions.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn check(&self, by_properties: bool) -> Result<(), Unusable> {
        match &self.wanted {
            Wanted::Unknown => Err(Unusable::Type(self.kind().to_owned())),
            Wanted::Sql { .. } if !by_properties => Err(Unusable::Type(self.kind().to_owned())),
            Wanted::Sql { expression: Err(error), .. } => Err(Unusable::Syntax(error.clone())),
            _ => Ok(()),
        }
    }

    /// What the client's owner should know of the expression.
    pub fn complaint(&self) -> Option<String> {
        match &self.wanted {
            Wanted::Sql { expression: Err(error), .. } => Some(error.to_string()),
            Wanted::Sql { expression: Ok(expression), .. } => {
                let from = expression.ignored_from()?;
                Some(format!("position {from}: the expression is complete; the rest is ignored"))
            }
            Wanted::Unknown => Some("this expression type is not known; TAG and SQL92 are".to_owned()),
            _ => None,
        }
    }

    /// Whether a message with that tag code may be wanted. Different tags can have the same code:
    /// clients compare the tags themselves, and an expression is evaluated.
    pub fn wants(&self, tag_code: i64) -> bool {
        match &self.wanted {
            // A code is a 32-bit hash, whatever the width it is stored in.
            Wanted::Tags(codes) => codes.binary_search(&(tag_code as i32)).is_ok(),
            // What is no hash, as when a message is due, says nothing of the tag.
            Wanted::Sql { codes: Some(codes), .. } => {
                i32::try_from(tag_code).map_or(true, |code| codes.binary_search(&code).is_ok())
            }
            _ => true,
        }
    }

    /// Whether it lets everything through.
    pub fn is_of_all(&self) -> bool {
        self.wanted == Wanted::All
    }

    /// Whether tag codes alone do not decide.
    pub fn needs_records(&self) -> bool {
        matches!(self.wanted, Wanted::Sql { .. })
    }

    /// What picks the messages of one read.
    pub fn picker(&self) -> Picker<'_> {
        Picker { subscription: self, work: 0 }
    }

    /// `TAG`, `SQL92` or what else the client wrote.
    pub fn kind(&self) -> &str {
        self.data.expression_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or(TAG)
    }

    /// The expression as a person writes it.
    pub fn expression(&self) -> &str {
        self.data.sub_string.as_deref().filter(|text| !text.is_empty()).unwrap_or(ALL)
    }

    /// Whether both let through the same messages.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.kind() == other.kind()
            && self.data.class_filter_mode == other.data.class_filter_mode
            && self.wanted == other.wanted
    }
}

/// Picks the messages of one read that a subscription wants.
#[derive(Debug)]
pub struct Picker<'s> {
    subscription: &'s Subscription,
    /// What evaluating cost until now: bytes of properties, for each term of the expression.
    work: usize,
}

impl Picker<'_> {
    /// Most work of one read: some milliseconds. Hundreds of messages by a common expression.
    const MOST_WORK: usize = 16 << 20;
    /// What a message costs beside its properties.
    const LEAST_PROPERTIES: usize = 64;
}

impl Filter for Picker<'_> {
    fn by_unit(&mut self, tag_code: i64) -> bool {
        self.subscription.wants(tag_code)
    }

    fn by_record(&mut self, record: &Record<'_>) -> Verdict {
        let expression = match &self.subscription.wanted {
            Wanted::All | Wanted::Tags(_) => return Verdict::Take,
            Wanted::Sql { expression: Ok(expression), .. } => expression,
            Wanted::Sql { expression: Err(_), .. } | Wanted::Unknown => return Verdict::Skip,
        };
        if self.work > Self::MOST_WORK {
            return Verdict::Stop;
        }
        self.work += expression.terms() * (Self::LEAST_PROPERTIES + record.properties.len());
        if expression.matches(&MessageVariables::of(record)) { Verdict::Take } else { Verdict::Skip }
    }
}

fn wants_all(data: &SubscriptionData) -> bool {
    match data.sub_string.as_deref() {
        Some(text) => text == ALL || (data.code_set.is_empty() && tags(text).next().is_none()),
        None => data.code_set.is_empty(),
    }
}

/// The hash codes of tags, in order.
fn codes<'t>(tags: impl Iterator<Item = &'t str>) -> Box<[i32]> {
    let mut codes: Vec<i32> = tags.map(java_hash).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.into()
}

fn tags(expression: &str) -> impl Iterator<Item = &str> {
    expression.split("||").map(str::trim).filter(|tag| !tag.is_empty())
}

#[cfg(test)]
mod tests {
    use apogee_message::record::{Draft, NewMessage};
    use bytes::BytesMut;

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

    fn sql(expression: &str) -> Subscription {
        Subscription::by(SQL92, "T", expression, 0)
    }

    fn verdict(subscription: &Subscription, properties: &str) -> Verdict {
        subscription.picker().by_record(&Record::read(&record(properties)).expect("a record"))
    }

    #[test]
    fn a_tag_code_rules_out_only_what_sql_cannot_match() {
        // Of the same code, so only the properties tell them from each other.
        let (one, other) = ("Aa", "BB");
        let code = i64::from(java_hash(one));
        assert_eq!(code, i64::from(java_hash(other)));
        let subscription = sql("TAGS = 'Aa' AND a > 3");
        assert!(subscription.wants(code) && !subscription.wants(TAG_A) && !subscription.wants(0));
        assert_eq!(verdict(&subscription, "a\u{1}4\u{2}TAGS\u{1}Aa\u{2}"), Verdict::Take);
        assert_eq!(verdict(&subscription, "a\u{1}4\u{2}TAGS\u{1}BB\u{2}"), Verdict::Skip);
        // When a message is due stands where its tag code would.
        assert!(subscription.wants(1_700_000_000_000));
        for any in
            ["TAGS = 'Aa' OR a > 3", "TAGS <> 'Aa'", "TAGS IS NULL", "NOT TAGS = 'Aa'", "_tag = 'Aa'", "a = 'Aa'"]
        {
            assert!(sql(any).wants(0) && sql(any).wants(TAG_A), "{any}");
        }
        let negative = sql("TAGS IN ('polygenelubricants', 'TagA')");
        assert!(negative.wants(-2_147_483_648) && negative.wants(TAG_A) && !negative.wants(TAG_B));
    }

    fn record(properties: &str) -> Vec<u8> {
        let message = NewMessage {
            properties: properties.to_owned().into(),
            ..NewMessage::own("T", "body", ([127, 0, 0, 1], 1), 1)
        };
        Draft::new(&message, &mut BytesMut::new()).expect("a record").to_vec()
    }

    #[test]
    fn properties_decide_for_sql() {
        let subscription = sql("a > 3 AND TAGS = 'x'");
        assert_eq!(verdict(&subscription, "a\u{1}4\u{2}TAGS\u{1}x\u{2}"), Verdict::Take);
        assert_eq!(verdict(&subscription, "a\u{1}3\u{2}TAGS\u{1}x\u{2}"), Verdict::Skip);
        assert_eq!(verdict(&subscription, "a\u{1}4\u{2}TAGS\u{1}y\u{2}"), Verdict::Skip);
        assert!(!subscription.is_alike(&Subscription::to_tags("T", "*", 0)));
        assert!(!subscription.is_alike(&sql("a > 3")) && sql("a > 3").is_alike(&sql("a > 3")));
    }

    #[test]
    fn what_cannot_be_filtered_by_is_named_and_wants_nothing() {
        let broken = sql("a >> 3");
        assert_eq!(verdict(&broken, "a\u{1}4\u{2}"), Verdict::Skip);
        assert!(matches!(broken.check(true), Err(Unusable::Syntax(error)) if error.position == 4));
        assert!(broken.complaint().expect("a complaint").starts_with("position 4: "));
        assert_eq!(sql("a > 3").check(false), Err(Unusable::Type("SQL92".into())));
        assert_eq!((sql("a > 3").check(true), sql("a > 3").complaint()), (Ok(()), None));
        assert!(sql("a > 3 )").complaint().expect("a complaint").starts_with("position 7: "));
        let unknown = Subscription::by("JS", "T", "true", 0);
        assert_eq!(unknown.check(true), Err(Unusable::Type("JS".into())));
        assert_eq!(verdict(&unknown, ""), Verdict::Skip);
    }

    #[test]
    fn a_read_ends_when_it_has_cost_enough_but_never_before_its_first_message() {
        let subscription = sql(&vec!["a CONTAINS 'xy'"; 500].join(" OR "));
        let bytes = record(&format!("a\u{1}{}\u{2}", "x".repeat(32_000)));
        let (record, mut picker) = (Record::read(&bytes).expect("a record"), subscription.picker());
        let verdicts: Vec<_> = std::iter::repeat_with(|| picker.by_record(&record)).take(10).collect();
        assert_eq!(verdicts[0], Verdict::Skip);
        assert_eq!(verdicts[9], Verdict::Stop);
    }

    #[test]
    fn the_order_of_tags_makes_no_difference() {
        let written = Subscription::to_tags("T", "a || b", 1);
        assert!(written.is_alike(&Subscription::to_tags("T", "b||a", 2)));
        assert!(!written.is_alike(&Subscription::to_tags("T", "a", 1)));
    }
}
