package interop;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Transactions: what is visible when, and what becomes of the undecided. The runner has both servers check after 1 s, every
 * second, 5 times.
 */
final class TransactionScenarios {
    private static final String DISCARDED = "TRANS_CHECK_MAX_TIME_TOPIC";

    static void add(Suite suite) {
        suite.add("transaction.commit", TransactionScenarios::commit);
        suite.add("transaction.rollback", TransactionScenarios::rollback);
        suite.add("transaction.many", TransactionScenarios::many);
        suite.add("transaction.checked", TransactionScenarios::checked);
        suite.add("transaction.immunity", TransactionScenarios::immunity);
        suite.add("transaction.other-producer", TransactionScenarios::otherProducer);
        suite.add("transaction.discarded", TransactionScenarios::discarded);
        suite.addAlone("transaction.restart", TransactionScenarios::restart);
    }

    /** A started producer whose local transactions and checks are decided by functions; it keeps who was checked, and when. */
    static final class Producer implements AutoCloseable {
        final Queue<MessageExt> checked = new ConcurrentLinkedQueue<>();
        final Queue<Long> checkedAt = new ConcurrentLinkedQueue<>();
        private final TransactionMQProducer producer;

        Producer(Env env, String group, Function<Message, LocalTransactionState> local, Function<MessageExt, LocalTransactionState> check)
            throws Exception {
            producer = new TransactionMQProducer("P-" + group);
            producer.setNamesrvAddr(env.namesrv);
            producer.setInstanceName("P-" + group + System.nanoTime());
            // A server that was restarted knows whom to ask after a heartbeat.
            producer.setHeartbeatBrokerInterval(1_000);
            producer.setTransactionListener(new TransactionListener() {
                @Override
                public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                    return local.apply(message);
                }

                @Override
                public LocalTransactionState checkLocalTransaction(MessageExt message) {
                    checkedAt.add(System.currentTimeMillis());
                    checked.add(message);
                    return check.apply(message);
                }
            });
            producer.start();
        }

        SendResult send(Message message) throws Exception {
            TransactionSendResult result = producer.sendMessageInTransaction(message, null);
            Env.sent(result);
            return result;
        }

        List<String> checkTimes() {
            return checked.stream().map(message -> message.getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES)).toList();
        }

        @Override
        public void close() {
            producer.shutdown();
        }
    }

    static Function<Message, LocalTransactionState> local(LocalTransactionState state) {
        return message -> state;
    }

    static Function<MessageExt, LocalTransactionState> check(LocalTransactionState state) {
        return message -> state;
    }

    private static long stored(Env env, String topic) {
        try {
            long stored = 0;
            for (MessageQueue queue : env.queues(topic)) {
                stored += env.admin.maxOffset(queue);
            }
            return stored;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private static void commit(Env env) throws Exception {
        String topic = env.topic("transaction-commit", 2);
        Received received = new Received(env, topic, "A");
        List<Long> storedBefore = new ArrayList<>();
        try (Producer producer = new Producer(env, topic, message -> {
            storedBefore.add(stored(env, topic));
            return LocalTransactionState.COMMIT_MESSAGE;
        }, check(LocalTransactionState.UNKNOW))) {
            Message message = Env.message(topic, "A", "committed");
            message.setKeys("key");
            message.putUserProperty("color", "red");
            SendResult sent = producer.send(message);
            MessageExt got = received.expect(List.of("committed")).get(0);
            Env.equal("messages before the commit", List.of(0L), storedBefore);
            Env.equal("unique id", sent.getMsgId(), got.getMsgId());
            Env.equal("keys", "key", got.getKeys());
            Env.equal("property", "red", got.getProperty("color"));
            Env.equal("queue", sent.getMessageQueue().getQueueId(), got.getQueueId());
            Env.equal("transaction id", sent.getTransactionId(), got.getProperty("__transactionId__"));
            Env.equal("transaction id is the unique id", sent.getMsgId(), sent.getTransactionId());
            Env.equal("transaction bits", 8, got.getSysFlag() & 12);
            Env.check(got.getPreparedTransactionOffset() > 0 || sent.getQueueOffset() == 0, "prepared offset: " + got.getPreparedTransactionOffset());
            for (String gone : List.of(MessageConst.PROPERTY_REAL_TOPIC, MessageConst.PROPERTY_REAL_QUEUE_ID)) {
                Env.equal(gone, null, got.getProperty(gone));
            }
            Env.equal("producer group", "P-" + topic, got.getProperty(MessageConst.PROPERTY_PRODUCER_GROUP));
            Thread.sleep(2_500);
            Env.equal("checks", 0, producer.checked.size());
            Env.equal("messages", 1L, stored(env, topic));
        }
    }

    private static void rollback(Env env) throws Exception {
        String topic = env.topic("transaction-rollback", 1);
        Received received = new Received(env, topic, "*");
        try (Producer producer = new Producer(env, topic,
            message -> new String(message.getBody()).equals("wanted") ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE,
            check(LocalTransactionState.COMMIT_MESSAGE))) {
            producer.send(Env.message(topic, "T", "unwanted"));
            producer.send(Env.message(topic, "T", "wanted"));
            received.expect(List.of("wanted"));
            Thread.sleep(2_500);
            Env.equal("checks", 0, producer.checked.size());
            Env.equal("messages", 1L, stored(env, topic));
        }
    }

    /**
     * A third each: committed, rolled back, and left to checks, of which every other one commits. Not with --server apache:
     * that one checks some that are decided but not noted yet, and delivers them twice.
     */
    private static void many(Env env) throws Exception {
        String topic = env.topic("transaction-many", 4);
        Received received = new Received(env, topic, "*");
        Map<String, LocalTransactionState> later = new ConcurrentHashMap<>();
        List<String> expected = new ArrayList<>();
        try (Producer producer = new Producer(env, topic, message -> switch (Integer.parseInt(new String(message.getBody())) % 3) {
            case 0 -> LocalTransactionState.COMMIT_MESSAGE;
            case 1 -> LocalTransactionState.ROLLBACK_MESSAGE;
            default -> LocalTransactionState.UNKNOW;
        }, message -> later.get(Env.body(message)))) {
            for (int i = 0; i < 300; i++) {
                boolean commits = i % 3 == 0 || i % 3 == 2 && i % 2 == 0;
                later.put(String.valueOf(i), commits ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
                if (commits) {
                    expected.add(String.valueOf(i));
                }
                producer.send(Env.message(topic, "T", String.valueOf(i)));
            }
            received.expect(expected);
            Thread.sleep(2_500);
            Env.equal("messages", (long) expected.size(), stored(env, topic));
            Env.check(producer.checked.stream().allMatch(message -> Integer.parseInt(Env.body(message)) % 3 == 2), "a decided one was checked");
        }
    }

    /** The first check's answer is unknown again, the second's a commit. */
    private static void checked(Env env) throws Exception {
        String topic = env.topic("transaction-checked", 1);
        Received received = new Received(env, topic, "*");
        try (Producer producer = new Producer(env, topic, local(LocalTransactionState.UNKNOW),
            message -> "2".equals(message.getProperty(MessageConst.PROPERTY_TRANSACTION_CHECK_TIMES))
                ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW)) {
            SendResult sent = producer.send(Env.message(topic, "T", "checked"));
            Env.equal("messages before the commit", 0L, stored(env, topic));
            MessageExt got = received.expect(List.of("checked")).get(0);
            Env.equal("unique id", sent.getMsgId(), got.getMsgId());
            Env.equal("checks", List.of("1", "2"), producer.checkTimes());
            MessageExt seen = producer.checked.peek();
            Env.equal("topic at the check", topic, seen.getTopic());
            Env.equal("transaction id at the check", sent.getTransactionId(), seen.getTransactionId());
            Thread.sleep(3_000);
            Env.equal("checks after the commit", 2, producer.checked.size());
            Env.equal("messages", 1L, stored(env, topic));
        }
    }

    private static void immunity(Env env) throws Exception {
        String topic = env.topic("transaction-immunity", 1);
        Received received = new Received(env, topic, "*");
        try (Producer producer = new Producer(env, topic, local(LocalTransactionState.UNKNOW), check(LocalTransactionState.COMMIT_MESSAGE))) {
            Message message = Env.message(topic, "T", "immune");
            message.putUserProperty(MessageConst.PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS, "4");
            long sent = System.currentTimeMillis();
            producer.send(message);
            received.expect(List.of("immune"));
            long after = producer.checkedAt.peek() - sent;
            Env.check(after >= 3_950 && after < 8_000, "checked after " + after + " ms");
            Env.equal("checks", 1, producer.checked.size());
        }
    }

    /** Any producer of the group can tell what became of the transaction of one that is gone. */
    private static void otherProducer(Env env) throws Exception {
        String topic = env.topic("transaction-other", 1);
        Received received = new Received(env, topic, "*");
        try (Producer gone = new Producer(env, topic, local(LocalTransactionState.UNKNOW), check(LocalTransactionState.UNKNOW))) {
            gone.send(Env.message(topic, "T", "orphan"));
        }
        try (Producer heir = new Producer(env, topic, local(LocalTransactionState.COMMIT_MESSAGE), check(LocalTransactionState.COMMIT_MESSAGE))) {
            heir.send(Env.message(topic, "T", "own"));
            received.expect(List.of("orphan", "own"));
            Env.equal("checks", List.of("orphan"), heir.checked.stream().map(Env::body).distinct().toList());
        }
    }

    private static void discarded(Env env) throws Exception {
        String topic = env.topic("transaction-discarded", 1);
        Received received = new Received(env, topic, "*");
        boolean[] knows = {false};
        try (Producer producer = new Producer(env, topic, local(LocalTransactionState.UNKNOW),
            message -> knows[0] ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW)) {
            producer.send(Env.message(topic, "T", "discarded"));
            List<MessageExt> found = new ArrayList<>();
            Env.await("the discarded message", 20_000, () -> {
                Thread.sleep(200);
                if (env.routeExists(DISCARDED) && stored(env, DISCARDED) > 0) {
                    Pulled.all(env, DISCARDED).stream().filter(one -> topic.equals(one.getProperty(MessageConst.PROPERTY_REAL_TOPIC))).forEach(found::add);
                }
                return !found.isEmpty();
            });
            Env.equal("checks", List.of("1", "2", "3", "4", "5"), producer.checkTimes());
            Env.equal("body", "discarded", Env.body(found.get(0)));
            knows[0] = true;
            MessageExt one = found.get(0);
            String id = org.apache.rocketmq.common.message.MessageDecoder.createMessageId(one.getStoreHost(), one.getCommitLogOffset());
            Env.check(env.admin.resumeCheckHalfMessage(topic, id), "the message was not put back");
            received.expect(List.of("discarded"));
            Env.equal("checks since", "1", producer.checkTimes().get(5));
        }
    }

    /** What is undecided is checked after a restart; what was committed just before is not delivered again. */
    private static void restart(Env env) throws Exception {
        String topic = env.topic("transaction-restart", 1);
        try (Producer producer = new Producer(env, topic,
            message -> new String(message.getBody()).equals("decided") ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.UNKNOW,
            check(LocalTransactionState.COMMIT_MESSAGE))) {
            Message patient = Env.message(topic, "T", "undecided");
            patient.putUserProperty(MessageConst.PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS, "3");
            producer.send(patient);
            producer.send(Env.message(topic, "T", "decided"));
            Env.await("the commit", 5_000, () -> stored(env, topic) == 1);
            Suite.restartServer();
            new Received(env, topic, "*").expect(List.of("decided", "undecided"));
            Thread.sleep(3_000);
            Env.equal("messages", 2L, stored(env, topic));
            Env.equal("checked", List.of("undecided"), producer.checked.stream().map(Env::body).distinct().toList());
        }
    }
}
