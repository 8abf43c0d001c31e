"""What may differ in rows of light queues, priorities and lite topics, and why: see differences.py and docs/differences.md."""
from differences import MILLISECONDS, UNREADABLE, Rule, answers

REFUSED = "what is refused later is told at once"
HANDLE = "a handle is of one delivery"
NOT_IN_TIME = "there is no pop that this could be of"
RESET = "a group that begins anew does so at once"


def of(request, rows):
    """Names of rows of a request on lite topics."""
    return " ".join(f"lite:{request}/{row}" for row in rows.split())


ACTIONS = ["partial_add", "complete_add", "partial_remove", "complete_remove"]
ADDING = ACTIONS[:2]


def changes(rows, actions=ACTIONS):
    """Names of rows of changes of what a client reads."""
    return of("LITE_SUBSCRIPTION_CTL", " ".join(f"{row}-{action}" for row in rows.split() for action in actions))


RULES = [
    Rule("light: lite:", "value", r"^(?:msgId|transactionId|recallHandle|timestamp|popTime): (\S+)$", "when and where it was"),
    Rule("light: lite:", "value", r"^remark: (?!FOUND|NO_MESSAGE_IN_QUEUE|the broker\[)(.*)$", "ours says what is wrong, and nothing where nothing is"),
    # Light queues.
    Rule("light:GET_TOPIC_STATS_INFO", "value", rf'"lastUpdateTimestamp":{MILLISECONDS}', "when it was"),
    Rule("light:GET_TOPIC_STATS_INFO", "value", r'"topicPutTps":(\d\.\d)', "messages a second"),
    Rule("light:POP_MESSAGE", "value", r"^reviveQid: (\d)$", "which queue a note is for, in turn"),
    Rule("light:POP_MESSAGE/no-light-queue", "both", r"^(?:invisibleTime|popTime|reviveQid): \S+$|^(?:msg|start)OffsetInfo: $", NOT_IN_TIME),
    Rule("light:PULL_MESSAGE/none lite:PULL_MESSAGE/none", "value", r"^remark: (.*)$", "there is no such queue"),
    Rule("light:PULL_MESSAGE/behind-the-end", "value", r"^nextBeginOffset: (\d)$", "ours begins at the first message: docs/differences.md"),
    *answers(1, 29, " ".join(f"light:UPDATE_AND_CREATE_SUBSCRIPTIONGROUP/{row}" for row in (
        "lite-events-9", "lite-events-many", "lite-model-shared", "lite-quota--2", "lite-quota-many", "lite-reset-exclusive-perhaps",
        "lite-reset-unsubscribe-perhaps", "lite-unknown", "priority-factor--1", "priority-factor-101", "priority-factor-many")), UNREADABLE),
    *answers(1, 29, "light:UPDATE_AND_CREATE_TOPIC/expiration--2 light:UPDATE_AND_CREATE_TOPIC/expiration-43201", UNREADABLE),
    *answers(0, 29, "light:UPDATE_AND_CREATE_SUBSCRIPTIONGROUP/lite-wildcard-perhaps", "it is true or false"),
    # Messages of lite topics.
    *answers(0, 29, of("SEND_MESSAGE", "65-letters blank no-ascii"), "nobody may read it"),
    *answers(0, 13, of("SEND_MESSAGE", "unnamed"), "nobody would read it"),
    Rule(of("SEND_MESSAGE", "timed"), "value", r"^queueOffset: (\d+)$", "how many waited before"),
    Rule(of("SEND_MESSAGE", "to-the-queue-itself"), "both", r"^(?:MSG_REGION|TRACE_ON): ", "Apache's has them in refusals, too"),
    # What clients read.
    *answers(0, 29, changes("65-letters client-blank client-unset group-unset topic-unset slash"), UNREADABLE),
    *answers(0, 29, changes("group-of-another group-of-none group-of-what-is-not no-parent", ADDING), REFUSED),
    *answers(0, 26, changes("no-group", ADDING), REFUSED),
    *answers(0, 17, changes("no-topic", ADDING), REFUSED),
    *answers(1, 29, changes("empty-name", ACTIONS[:3]), UNREADABLE),
    *answers(0, 29, changes("empty-name", ACTIONS[3:]), UNREADABLE),
    *answers(1, 29, of("LITE_SUBSCRIPTION_CTL", "no-json unknown-action no-action"), UNREADABLE),
    *answers(0, 29, of("LITE_SUBSCRIPTION_CTL", "offset-below-0 tail-below-0"), "there is no such place"),
    *answers(0, 2018, of("LITE_SUBSCRIPTION_CTL", "client-quota no-room-complete"), "limits count always"),
    *answers(2018, 0, of("LITE_SUBSCRIPTION_CTL", "no-room-but-known"), "it is none more"),
    # Pops.
    *answers(210, 29, of("POP_LITE_MESSAGE", "born-unset invisible-0 invisible-below-0 invisible-unset messages-unset poll-unset"), UNREADABLE),
    *answers(1, 29, of("POP_LITE_MESSAGE", "client-unset group-unset topic-unset"), UNREADABLE),
    *answers(29, 26, of("POP_LITE_MESSAGE", "no-group"), "Apache's makes it when it is asked for"),
    *answers(0, 210, of("POP_LITE_MESSAGE", "offset-below-0 tail-below-0"), "there is no such place: nobody reads"),
    *answers(0, 210, of("POP_LITE_MESSAGE", "time-far"), "Apache's begins at no time"),
    Rule(of("POP_LITE_MESSAGE", "time-0-at-2 tail-2"), "rest", "^orderCountInfo", "Apache's begins at no time, and counts from the group's offset"),
    *answers(210, 0, of("POP_LITE_MESSAGE", "after-expiry"), "who reads a lite topic gets what comes later"),
    *answers(210, 0, of("POP_LITE_MESSAGE", "same-attempt"), "a lost answer blocks no lite topic"),
    *answers(210, 0, of("POP_LITE_MESSAGE", "second-of-diff-liter-exclusive-resets subscribed-again-diff-liter-resets"), RESET),
    Rule(of("POP_LITE_MESSAGE", "again"), "value", r"^orderCountInfo: (.*)$", "the same in other words, which clients read as well"),
    # Acknowledgements and changes.
    *answers(0, 208, of("ACK_MESSAGE", "another-pop-time came-again expired-0 no-lite-topic of-another-lite-topic"), HANDLE),
    *answers(0, 13, of("ACK_MESSAGE", "lite-topic-unset offset-below-0"), HANDLE),
    *answers(208, 13, of("ACK_MESSAGE", "offset-behind-the-end"), HANDLE),
    *answers(0, 29, of("ACK_MESSAGE", "lite-topic-slash"), UNREADABLE),
    *answers(29, 26, of("ACK_MESSAGE", "no-group"), "Apache's makes it when it is asked for"),
    *answers(1, 29, of("ACK_MESSAGE", "no-handle"), UNREADABLE),
    *answers(1, 13, of("ACK_MESSAGE", "no-number short-handle"), UNREADABLE),
    *answers(0, 208, of("CHANGE_MESSAGE_INVISIBLETIME", "acknowledged another-pop-time no-lite-topic of-another-lite-topic"), HANDLE),
    *answers(0, 29, of("CHANGE_MESSAGE_INVISIBLETIME", "another-group invisible-below-0 lite-topic-slash no-parent not-in-order"), HANDLE),
    *answers(0, 13, of("CHANGE_MESSAGE_INVISIBLETIME", "lite-topic-unset not-popped offset-below-0"), HANDLE),
    *answers(0, 26, of("CHANGE_MESSAGE_INVISIBLETIME", "no-group"), HANDLE),
    *answers(208, 13, of("CHANGE_MESSAGE_INVISIBLETIME", "offset-behind-the-end"), HANDLE),
    *answers(1, 29, of("CHANGE_MESSAGE_INVISIBLETIME", "no-handle"), UNREADABLE),
    *answers(1, 13, of("CHANGE_MESSAGE_INVISIBLETIME", "no-number short-handle"), UNREADABLE),
    Rule(of("CHANGE_MESSAGE_INVISIBLETIME", "good another-broker"), "value", r"^invisibleTime: (60\d{4})$", "from the pop on"),
    Rule(of("CHANGE_MESSAGE_INVISIBLETIME", "no-topic queue-1"), "both", r"^(?:reviveQid|invisibleTime|popTime): ", "Apache's has them in refusals, too"),
    Rule(of("PULL_MESSAGE", "p-1"), "value", r" 0/(\d+) %LMQ", "where it is in the parent: ours refused some before"),
    # Administration.
    *answers(29, 26, of("GET_LITE_CLIENT_INFO", "by-diff-nobody") + " " + of("GET_LITE_GROUP_INFO", "by-diff-nobody") + " "
             + of("TRIGGER_LITE_DISPATCH", "by-diff-nobody"), "Apache's makes it when it is asked for"),
    *answers(1, 17, of("GET_LITE_CLIENT_INFO", "of-null") + " " + of("GET_LITE_TOPIC_INFO", "of-null"), UNREADABLE),
    *answers(1, 26, of("GET_LITE_CLIENT_INFO", "by-null"), UNREADABLE),
    *answers(1, 29, of("GET_LITE_GROUP_INFO", "by-null") + " " + of("TRIGGER_LITE_DISPATCH", "by-null") + " " + of("GET_PARENT_TOPIC_INFO", "null")
             + " " + of("GET_LITE_TOPIC_INFO", "empty-name name-unset"), UNREADABLE),
    *answers(0, 29, of("GET_LITE_TOPIC_INFO", "slash"), UNREADABLE),
    *answers(1, 0, of("GET_LITE_GROUP_INFO", "topk-unset"), "20 by default"),
    Rule("lite:", "value", rf'"(?:lastAccessTime|lastUpdateTimestamp|lastTimestamp|earliestUnconsumedTimestamp)":{MILLISECONDS}', "when it was"),
    Rule("lite:GET_LITE_CLIENT_INFO", "value", r'"lastConsumeTime":(\d+)', "Apache's does not tell"),
    Rule("lite:GET_BROKER_LITE_INFO", "value", r'"(?:cqTableSize|currentLmqNum|eventMapSize|liteSubscriptionCount|offsetTableSize|orderInfoCount)":(\d+)',
         "ours refused some, and lets go of what is settled"),
    Rule("lite:GET_PARENT_TOPIC_INFO", "value", r'"(?:lmqNum|liteTopicCount)":(\d+)', "ours refused some"),
    Rule("lite:GET_LITE_GROUP_INFO", "value", r'"earliestUnconsumedTimestamp":(-1|…)', "Apache's tells it with liteLagLatencyCollectEnable"),
    Rule("lite:GET_LITE_CLIENT_INFO/expired lite:GET_LITE_TOPIC_INFO/expired", "rest", r'"(?:lastAccessTime|liteTopic)":', "who reads it gets what comes later"),
]
