"""What may differ between what mqadmin prints of Apache's server and of apogee, and why: the rules of differential.py."""
import re
from typing import NamedTuple

TIME = r"\b(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d{3})?)"
MILLISECONDS = r"(1[5-9]\d{11})\b"
RATE = r"(\d+\.\d+(?:E-\d+)?)"
HEADLINE = r"(?: *(?:[\d.]+:\d+) +)?"


class Rule(NamedTuple):
    """What differs in the output of some commands."""
    # Names of commands, each with what its line has besides after a slash.
    commands: str
    # value: the groups of the expression; apache, apogee: lines that only this one has; both: lines of either;
    # rest: what follows a line; unordered: the order of lines.
    kind: str
    what: str
    why: str

    def matches(self, line):
        """Whether it is about a command line: '$ mqadmin NAME ARGUMENTS' or '$ pop REQUEST ROW', or another kind, which a command has
        before a colon: 'lite:REQUEST/ROW', 'lite:'."""
        kind, name = line.split()[1:3]
        for word in self.commands.split():
            command, _, has = word.partition("/")
            of, _, command = command.rpartition(":")
            if (kind == of if of else kind in ("mqadmin", "pop")) and command in ("" if of else name, name) and has in line:
                return True
        return False


def line_of(*keys):
    """The line 'KEY : VALUE' or 'KEY = VALUE' of one of some keys; an address may stand before it."""
    return rf"^{HEADLINE}(?:{'|'.join(map(re.escape, keys))}) *[:=]"


def value_of(*keys):
    """The value of such a line."""
    return line_of(*keys) + r"(.*)$"


def json_value(*keys):
    """The value of one of some keys in JSON of a line each."""
    return rf"^\s*\"(?:{'|'.join(keys)})\":(.*?),?$"


def answers(apache, apogee, commands, why):
    """What either answers some requests with, by codes; what else they say does not count."""
    return [Rule(commands, "apache", rf"^code: {apache}$", why), Rule(commands, "apogee", rf"^code: {apogee}$", why), Rule(commands, "rest", "^remark:", why)]


CONFIG = "getBrokerConfig"
UNREADABLE = "ours says what it lacks or cannot read"
DELAYED = "ours counts a delayed message for its topic when it comes, Apache's when it is delivered: docs/differences.md"
MESSAGES = "queryMsgById queryMsgByUniqueKey queryMsgByOffset"
CONSUMER = "consumerStatus/-i"
ASKING = ["POP_MESSAGE", "PEEK_MESSAGE", "NOTIFICATION", "POLLING_INFO"]
SETTLING = ["ACK_MESSAGE", "CHANGE_MESSAGE_INVISIBLETIME"]
POP = " ".join(["BATCH_ACK_MESSAGE", *ASKING, *SETTLING])
UNSET = [
    "authConfigPath", "brokerConfigPath", "clusterName", "configName", "dLegerGroup", "dLegerPeers", "dLegerSelfId", "haMasterAddress",
    "initAuthenticationUser", "innerClientAuthenticationCredentials", "preferredLeaderId", "readOnlyCommitLogStorePaths",
    "storePathBrokerIdentity", "storePathDLedgerCommitLog", "storePathEpochFile",
]
CLIENT = [
    "channelNotActiveInterval", "clientAsyncSemaphoreValue", "clientCallbackExecutorThreads", "clientChannelMaxIdleTimeSeconds",
    "clientCloseSocketIfTimeout", "clientOnewaySemaphoreValue", "clientPooledByteBufAllocatorEnable", "clientSocketRcvBufSize",
    "clientSocketSndBufSize", "clientWorkerThreads", "connectTimeoutMillis", "disableCallbackExecutor", "disableNettyWorkerGroup",
    "enableReconnectForGoAway", "isScanAvailableNameSrv", "maxReconnectIntervalTimeSeconds", "socksProxyConfig", "useTLS",
]

RULES = [
    # When, how fast, from which port.
    Rule(f"topicStatus consumerProgress brokerConsumeStats queryMsgTraceById printMsgByQueue {MESSAGES}", "value", TIME, "when it was"),
    Rule("producer", "value", rf"lastUpdateTimestamp={MILLISECONDS}", "when it was"),
    Rule("topicRoute", "value", rf'"epoch":{MILLISECONDS}', "when it was"),
    Rule("updateStaticTopic", "value", rf"diff-static-{MILLISECONDS}\.(?:before|after)$", "when it was"),
    Rule("exportMetadata", "value", rf'"exportTime":{MILLISECONDS}', "when it was"),
    Rule("getLiteGroupInfo", "value", rf"Min Unconsumed Timestamp: {MILLISECONDS} \((\d+) s ago\)", "when it was"),
    Rule("printMsg printMsgByQueue consumeMessage", "value", r"(?:born|store)Timestamp=(\d+)", "when it was"),
    Rule("printMsg printMsgByQueue consumeMessage", "value", r"bornHost=/127\.0\.0\.1:(\d+)", "the client's port"),
    Rule(MESSAGES, "value", r"^Born Host: +127\.0\.0\.1:(\d+)", "the client's port"),
    Rule("producer", "value", r"remoteIP=/127\.0\.0\.1:(\d+)", "the client's port"),
    Rule("producerConnection consumerConnection", "value", r"127\.0\.0\.1:(\d+) +JAVA", "the client's port"),
    Rule("queryMsgTraceById", "value", r"(\d+)ms ", "how long it took"),
    Rule("queryMsgById queryMsgByUniqueKey", "value", r"spentTimeMills=(\d+)", "how long it took"),
    Rule("clusterList", "value", rf"V5_5_0 +{RATE}\((\d+,\d+)ms\) +{RATE}\((\d+,\d+)ms\|(\d+,\d+)ms\)",
         "messages a second, and what waits for a thread of Apache's"),
    Rule("clusterList", "value", r" (\d+)-(\d+)\(", "how far the timers were at that moment"),
    Rule("clusterList", "value", rf"\) +\d+ +{RATE} +{RATE} +(?:true|false)$", "hours since the first message, how full the disk is"),
    Rule("statsAll", "value", rf" {RATE} +(?:{RATE}|  ) ", "messages a second"),
    # Both take samples every ten seconds, each by its own clock: what came before a row's first one is in no sum.
    # The scenario admin.statsAll waits for the exact sums.
    Rule("statsAll", "value", r" (\d+) +(?:(\d+)|NO_CONSUMER)$", "messages between the samples of the last day"),
    Rule("statsAll/-a", "both", r"^[^#]\S+ .* … (?:…|NO_CONSUMER)$", "only rows with such messages"),
    Rule("consumerProgress", "value", rf"^Consume TPS: {RATE}", "messages a second"),
    Rule("consumerProgress", "value", r"^\S+ +1 +V5_5_0 +PUSH +CLUSTERING +(\d+)", "messages a second"),
    Rule("exportMetrics", "value", json_value("totalScheduleInTps", "totalNormalInTps", "totalNormalOutTps", "scheduleInTps", "normalInTps", "normalOutTps"), "messages a second"),
    # Lists without an order.
    Rule("producer topicList statsAll brokerConsumeStats consumerProgress getBrokerConfig getNamesrvConfig printMsg consumerStatus", "unordered", "", "entries of a hash map"),
    # The client's own state.
    Rule("consumerStatus", "value", rf" {MILLISECONDS}/[\d.]+@", "the file that it wrote"),
    Rule(CONSUMER, "value", value_of("consumeTimestamp", "PROP_CONSUMER_START_TIMESTAMP"), "when it was"),
    Rule(CONSUMER, "value", r"@([0-9a-f]+)$", "where an object is"),
    Rule("consumerStatus/-s", "rest", r"^#Consumer jstack#", "the client's threads"),
    Rule(CONSUMER, "value", r"ProcessQueueInfo (.*)", "the client's own state"),
    Rule(CONSUMER, "value", rf"^(?:diff-topic|%RETRY%\S+) +{RATE} +{RATE} +{RATE} +{RATE} +{RATE} +(\d+)", "messages a second"),
    # The state of a broker.
    Rule("brokerStatus", "value", value_of(
        "bootTimestamp", "earliestMessageTimeStamp", "runtime", "putTps", "getFoundTps", "getMissTps", "getTotalTps", "getTransferredTps"),
        "when it was, and messages a second"),
    Rule("brokerStatus", "value", rf"^{HEADLINE}\w+(?:QueueSize|HeadWaitTimeMills|LockTimeMills|BehindBytes|CongestNum) *: (\d+)$", "what waits at that moment"),
    Rule("brokerStatus", "value", value_of("timerReadBehind", "timerOffsetBehind"), "how far the timers were at that moment"),
    Rule("brokerStatus exportMetrics", "value", rf"(?:commitLogDiskRatio|consumeQueueDiskRatio)\"? *: ?\"?{RATE}", "how full the disk is"),
    Rule("brokerStatus", "value", value_of("commitLogDirCapacity"), "how full the disk is"),
    Rule("brokerStatus", "value", rf"^{HEADLINE}commitLogDiskRatio_\S+data-(ap\w+)/store/commitlog: {RATE}", "each has its own folder"),
    Rule("brokerStatus", "value", value_of("remainHowManyDataToFlush"), "ours flushes before it answers (flushDiskType)"),
    Rule("brokerStatus", "value", value_of("getMessageEntireTimeMax", "putMessageEntireTimeMax", "putLatency99", "putLatency999", "putMessageDistributeTime"),
         "how long it took; ours since the start"),
    Rule("brokerStatus haStatus", "value", value_of("commitLogMaxOffset", "putMessageSizeTotal") + r"|^#MasterCommitLogMaxOffset\s+(\d+)",
         "of a message that is delivered again ours leaves out the properties that were for its waiting"),
    Rule("brokerStatus", "apogee", line_of("getTransferedTps"), "for tools of 4.x"),
    Rule("brokerStatus", "value", value_of("msgPutTotalTodayNow", "putMessageTimesTotal", "putMessageAverageSize"), DELAYED),
    Rule("clusterList/-m", "value", r"^DefaultCluster +broker-a +\d+ +\d+ +(\d+) +\d+$", DELAYED),
    Rule("exportMetrics", "value", json_value("scheduleOneDayInNum", "messageAverageSize"), DELAYED),
    # Topics.
    Rule("topicList statsAll", "apache", r"\b(?:RMQ_SYS_ROCKSDB_TRANS_(?:OP_)?HALF_TOPIC|rmq_sys_REVIVE_LOG_\w+|rmq_sys_SYNC_BROKER_MEMBER_\S+)",
         "topics of what is not here: RocksDB, slaves"),
    Rule("topicList statsAll", "apogee", r"\bTRANS_CHECK_MAX_TIME_TOPIC\b", "made at the start, not with the first transaction that nobody decided"),
    Rule("getBrokerLiteInfo", "value", r"^[\d.:]+ +default +(\d+) +\d+ +\d+ +\d+ +(\d+)", "no lite topics; queues of topics that are not here"),
    # Errors that say more.
    Rule(f"topicRoute topicStatus topicClusterList consumerProgress consumerConnection consumerStatus {MESSAGES}", "apogee",
         r"^(?:1 broker is registered here, none has the topic|A broker makes this topic when a consumer)", "ours says why"),
    Rule(f"topicRoute topicStatus topicClusterList consumerProgress consumerConnection consumerStatus {MESSAGES}", "both",
         r"^(?:See|For more information, please visit the url,) https://rocketmq.apache.org/docs/bestPractice/06FAQ", "where to look, in the client's words"),
    Rule("queryCq/50", "apache", r"^java.lang.NullPointerException: .*queryConsumeQueueResponseBody", "ours answers for offsets where there is nothing, too"),
    Rule("queryCq/50", "apogee", r"^(?:Queue data: ?|max: 4, min: 0|=+)$", "ours answers for offsets where there is nothing, too"),
    Rule("queryCq/-g", "value", json_value("subVersion"), "when it was"),
    # Each record has a check sum of when and whence it came.
    Rule("queryMsgById queryMsgByUniqueKey queryMsgByOffset printMsg printMsgByQueue consumeMessage", "value", r"__CRC32#=(\d+)", "of other times and ports"),
    # Settings.
    Rule("getBrokerConfig getNamesrvConfig", "value", value_of("rocketmqHome", "storePathRootDir", "storePathCommitLog", "bindAddress", "brokerIP2", "haListenPort", "kvConfigPath", "configStorePath"),
         "folders and addresses: Apache's tells what it found, or was given another one"),
    Rule(CONFIG, "value", value_of("registerNameServerPeriod", "liteEventCheckInterval"), "set by the test"),
    Rule(CONFIG, "apache", line_of("authenticationMetadataProvider", "authorizationMetadataProvider"), "set by the test"),
    Rule(CONFIG + " exportConfigs", "value", value_of("flushDiskType", "slaveReadEnable") + "|" + json_value("flushDiskType", "slaveReadEnable"),
         "another default: docs/differences.md"),
    Rule(CONFIG, "value", value_of("flushIntervalCommitLog", "syncFlushTimeout", "cleanFileForciblyEnable", "recallMessageEnable", "timerMaxDelaySec",
                                     "dataReadAheadEnable", "metricsExporterType", "metricsOtelCardinalityLimit", "inSyncReplicas", "allAckInSyncStateSet"),
         "another default: docs/differences.md"),
    Rule(CONFIG, "value", value_of("bitMapLengthConsumeQueueExt", "forceRegister"), "Apache's sets them by itself"),
    Rule(CONFIG, "apogee", line_of("deduplicationMaxKeys", "enableTopicMessageTypeCheck", "doctorInterval", "healthPort", "logLevel"), "not settings of Apache's broker"),
    Rule(CONFIG, "apogee", r"^(?:aclCache|userCache|stateful|authentic|authoriz)\w+ +=|^migrateAuthFromV1Enabled", "Apache's does not tell its settings of access"),
    Rule(CONFIG, "apogee", line_of(*UNSET) + " +$", "Apache's leaves out what is not set"),
    Rule("getNamesrvConfig", "apogee", line_of("healthPort", "logLevel"), "not settings of Apache's name server"),
    Rule("getNamesrvConfig", "apogee", line_of(*CLIENT), "settings of a client; Apache's takes them, too, and doesn't tell them"),
    # POP.
    *answers(0, 208, "ACK_MESSAGE/another-group ACK_MESSAGE/another-pop-time ACK_MESSAGE/came-again ACK_MESSAGE/changed-since ACK_MESSAGE/not-popped "
             "CHANGE_MESSAGE_INVISIBLETIME/acknowledged CHANGE_MESSAGE_INVISIBLETIME/another-broker CHANGE_MESSAGE_INVISIBLETIME/another-group "
             "CHANGE_MESSAGE_INVISIBLETIME/another-pop-time CHANGE_MESSAGE_INVISIBLETIME/came-again CHANGE_MESSAGE_INVISIBLETIME/not-popped "
             "CHANGE_MESSAGE_INVISIBLETIME/replayed BATCH_ACK_MESSAGE/behind-the-end", "a handle is of one delivery: docs/differences.md"),
    *answers(0, 13, "ACK_MESSAGE/of-another-message CHANGE_MESSAGE_INVISIBLETIME/of-another-message BATCH_ACK_MESSAGE/queue-99", "what a handle cannot be of"),
    *answers(0, 17, "BATCH_ACK_MESSAGE/no-topic", "who is told nothing believes that they are done with"),
    *answers(0, 29, "ACK_MESSAGE/no-group CHANGE_MESSAGE_INVISIBLETIME/no-group CHANGE_MESSAGE_INVISIBLETIME/invisible-below-0 POP_MESSAGE/queue-unset "
             "POP_MESSAGE/invisible-unset PEEK_MESSAGE/queue-unset NOTIFICATION/queue-unset POLLING_INFO/queue-unset", UNREADABLE),
    *answers(1, 29, "ACK_MESSAGE/no-handle CHANGE_MESSAGE_INVISIBLETIME/no-handle BATCH_ACK_MESSAGE/no-json " + " ".join(
             f"{request}/{name}-unset" for request in ASKING for name in ("group", "topic")), UNREADABLE),
    *answers(1, 13, " ".join(f"{request}/{handle}" for request in SETTLING for handle in ("no-number", "short-handle")), UNREADABLE),
    *answers(208, 29, "BATCH_ACK_MESSAGE/no-body", UNREADABLE),
    *answers(210, 29, "POP_MESSAGE/messages-unset", UNREADABLE),
    *answers(210, 0, "POP_MESSAGE/born-long-ago", "clocks differ: docs/differences.md"),
    Rule(POP, "value", r"^remark: (?!FOUND|NO_MESSAGE_IN_QUEUE)(.*)$", "ours says what is wrong"),
    Rule("POP_MESSAGE CHANGE_MESSAGE_INVISIBLETIME", "value", rf"^popTime: {MILLISECONDS}", "when it was"),
    Rule("POP_MESSAGE", "value", r"^reviveQid: (\d)$", "which queue a note is for, in turn"),
    Rule("CHANGE_MESSAGE_INVISIBLETIME", "both", r"^reviveQid: \d$|^(?:invisibleTime|popTime): 0$", "Apache's has them in refusals, too"),
    Rule(" ".join(ASKING[1:]), "both", r"^(?:invisibleTime|popTime|restNum|reviveQid|pollingNum): 0$|^(?:hasMsg|pollingFull): false$", "Apache's has them in refusals, too"),
    Rule("POP_MESSAGE/nobody-has", "both", r"^(?:invisibleTime|popTime|reviveQid): \S+$|^(?:msg|start)OffsetInfo: $", "there is no pop that this could be of"),
    Rule("POP_MESSAGE/of-a-tag", "value", r"^startOffsetInfo: 0 0 (\d)$", "ours begins with the first message that it brings"),
]
