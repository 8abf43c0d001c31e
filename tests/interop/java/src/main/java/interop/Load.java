package interop;

import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.zip.CRC32;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages of every kind, all the time: plain ones, of a delay level, with a time of their own, and transactions. */
final class Load {
    private static final int PAUSE_MS = 8;
    /** Of so many messages the last ones are delayed, timed and transactions; of these each third is rolled back. */
    private static final int ROUND = 10;
    private static final int SOON_MS = 1_500;

    private final String topic;
    private final Ledger ledger;
    private final DefaultMQProducer producer;
    private final TransactionMQProducer transactions;
    private final Set<String> commit = ConcurrentHashMap.newKeySet();
    private final Set<String> undecided = ConcurrentHashMap.newKeySet();
    private final AtomicInteger count = new AtomicInteger();
    private final Random random = new Random(7);
    private final List<Thread> running = new ArrayList<>();
    private volatile boolean on;

    Load(String namesrv, String topic, Ledger ledger) throws Exception {
        this.topic = topic;
        this.ledger = ledger;
        producer = new DefaultMQProducer("P-" + topic);
        transactions = new TransactionMQProducer("P-transactions-" + topic);
        for (DefaultMQProducer each : List.of(producer, transactions)) {
            each.setNamesrvAddr(namesrv);
            each.setInstanceName(each.getProducerGroup());
            each.setPollNameServerInterval(500);
            each.setHeartbeatBrokerInterval(1_000);
            // A failed attempt is the ledger's: the client must not send the same once more.
            each.setRetryTimesWhenSendFailed(0);
            each.setSendMsgTimeout(10_000);
        }
        transactions.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
                return decision(message);
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return decision(message);
            }
        });
        producer.start();
        transactions.start();
    }

    private LocalTransactionState decision(Message message) {
        return undecided.contains(message.getKeys()) ? LocalTransactionState.UNKNOW
            : commit.contains(message.getKeys()) ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
    }

    void start() {
        on = true;
        running.add(new Thread(() -> repeat(ROUND - 1, this::plain)));
        running.add(new Thread(() -> repeat(3, () -> {
            int turn = count.get() % 4;
            if (turn < 2) {
                later(turn == 0 ? 1 : 0, SOON_MS);
            } else {
                transaction(turn == 2, false);
            }
        })));
        running.forEach(Thread::start);
    }

    void stop() throws InterruptedException {
        on = false;
        for (Thread thread : running) {
            thread.join();
        }
        running.clear();
    }

    private interface Attempt {
        void run() throws Exception;
    }

    private void repeat(int inRound, Attempt attempt) {
        while (on) {
            try {
                attempt.run();
                Thread.sleep((long) PAUSE_MS * ROUND / inRound);
            } catch (InterruptedException e) {
                return;
            } catch (Exception e) {
                // No route or no connection for a moment; the ledger has it.
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(100);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Sends one plain message. */
    SendResult plain() throws Exception {
        Message message = message("plain");
        ledger.maybe(message);
        SendResult result = producer.send(message);
        if (result.getSendStatus() == SendStatus.SEND_OK) {
            ledger.promised(message, result);
        }
        return result;
    }

    /** A message of a delay level, or of its own time where the level is 0. */
    void later(int level, long delayMs) throws Exception {
        Message message = message(level > 0 ? "delayed" : "timed");
        if (level > 0) {
            message.setDelayTimeLevel(level);
        } else {
            message.setDelayTimeMs(delayMs);
        }
        ledger.maybe(message);
        if (producer.send(message).getSendStatus() == SendStatus.SEND_OK) {
            ledger.promisedLater(message);
        }
    }

    /** A transaction that is committed or rolled back; an open one only when {@link #decide} says so. */
    void transaction(boolean commits, boolean open) throws Exception {
        Message message = message(open ? "undecided" : commits ? "committed" : "rolled-back");
        if (commits) {
            commit.add(message.getKeys());
        }
        if (open) {
            undecided.add(message.getKeys());
        }
        boolean stored = false;
        try {
            stored = transactions.sendMessageInTransaction(message, null).getSendStatus() == SendStatus.SEND_OK;
        } finally {
            if (stored && commits) {
                ledger.promisedLater(message);
            } else {
                commit.remove(message.getKeys());
                ledger.never(message);
            }
        }
    }

    void decide() {
        undecided.clear();
    }

    private Message message(String kind) {
        int number = count.incrementAndGet();
        // Of many sizes, so that blocks cut records anywhere; the longest are compressed by the client.
        byte[] noise = new byte[random.nextInt(number % 50 == 0 ? 10_000 : 1_900)];
        random.nextBytes(noise);
        byte[] body = HexFormat.of().formatHex(noise).getBytes();
        CRC32 sum = new CRC32();
        sum.update(body);
        Message message = new Message(topic, "A", kind + "-" + number, number % 128, body, true);
        message.putUserProperty("sum", Long.toString(sum.getValue()));
        return message;
    }
}
