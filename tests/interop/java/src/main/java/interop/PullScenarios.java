package interop;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Pull consumers: the old one, whose every answer is visible, and the lite one. */
@SuppressWarnings("deprecation")
final class PullScenarios {
    static void add(Suite suite) {
        suite.add("pull.plain", PullScenarios::plain);
        suite.add("pull.long-poll", PullScenarios::longPoll);
        suite.add("lite.subscribe", PullScenarios::subscribe);
        suite.add("lite.assign-seek", PullScenarios::assignAndSeek);
    }

    private static DefaultMQPullConsumer puller(Env env, String group) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(group);
        consumer.setNamesrvAddr(env.namesrv);
        consumer.start();
        return consumer;
    }

    private static void plain(Env env) throws Exception {
        String topic = env.topic("pull-plain", 2);
        DefaultMQProducer producer = env.producer(topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 0);
        for (int i = 0; i < 50; i++) {
            producer.send(Env.message(topic, i % 10 == 0 ? "tenth" : "other", "p" + i), queue);
        }
        DefaultMQPullConsumer consumer = puller(env, "C-" + topic);
        Env.equal("queues", Set.of(queue, new MessageQueue(topic, env.brokerName, 1)), consumer.fetchSubscribeMessageQueues(topic));

        PullResult first = consumer.pull(queue, "*", 0, 10);
        Env.equal("status", PullStatus.FOUND, first.getPullStatus());
        Env.equal("count", 10, first.getMsgFoundList().size());
        Env.equal("next", 10L, first.getNextBeginOffset());
        Env.equal("min", 0L, first.getMinOffset());
        Env.equal("max", 50L, first.getMaxOffset());
        Env.equal("first body", "p0", Env.body(first.getMsgFoundList().get(0)));

        List<String> tenths = new ArrayList<>();
        for (long at = 0; at < 50; ) {
            PullResult result = consumer.pull(queue, "tenth", at, 32);
            if (result.getPullStatus() == PullStatus.FOUND) {
                result.getMsgFoundList().forEach(message -> tenths.add(Env.body(message)));
            } else {
                Env.equal("status without a match", PullStatus.NO_MATCHED_MSG, result.getPullStatus());
            }
            Env.check(result.getNextBeginOffset() > at, "no progress at " + at);
            at = result.getNextBeginOffset();
        }
        Env.equal("by tag", List.of("p0", "p10", "p20", "p30", "p40"), tenths);

        Env.equal("at the end", PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 50, 32).getPullStatus());
        PullResult beyond = consumer.pull(queue, "*", 60, 32);
        Env.equal("beyond the end", PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Env.equal("corrected to", 50L, beyond.getNextBeginOffset());

        consumer.updateConsumeOffset(queue, 17);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        Env.await("the committed offset", 5_000, () -> consumer.fetchConsumeOffset(queue, true) == 17);
        consumer.shutdown();
        producer.shutdown();
    }

    /**
     * A pull at the end of the queue waits at the broker and is answered by the next message that it wants.
     * The broker may answer that it went past others.
     */
    private static void longPoll(Env env) throws Exception {
        String topic = env.topic("pull-long-poll", 1);
        DefaultMQProducer producer = env.producer(topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 0);
        Env.sendMany(producer, topic, "T", "old", 1);
        DefaultMQPullConsumer consumer = puller(env, "C-" + topic);
        CompletableFuture<PullResult> parked = CompletableFuture.supplyAsync(() -> {
            try {
                PullResult result = consumer.pullBlockIfNotFound(queue, "wanted", 1, 32);
                while (result.getPullStatus() == PullStatus.NO_MATCHED_MSG) {
                    result = consumer.pullBlockIfNotFound(queue, "wanted", result.getNextBeginOffset(), 32);
                }
                return result;
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        Thread.sleep(500);
        Env.sendMany(producer, topic, "unwanted", "no", 1);
        Thread.sleep(500);
        Env.check(!parked.isDone(), "the pull was answered without a message that it wants: " + parked);
        long sent = System.currentTimeMillis();
        Env.sendMany(producer, topic, "wanted", "yes", 1);
        PullResult result = parked.get(5, TimeUnit.SECONDS);
        Env.equal("answer", List.of("yes0"), result.getMsgFoundList().stream().map(Env::body).toList());
        Env.check(System.currentTimeMillis() - sent < 1_000, "answered only after " + (System.currentTimeMillis() - sent) + " ms");
        consumer.shutdown();
        producer.shutdown();
    }

    private static DefaultLitePullConsumer lite(Env env, String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(env.namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setAutoCommit(false);
        return consumer;
    }

    private static List<String> poll(DefaultLitePullConsumer consumer, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        Env.await(count + " messages by poll", 15_000, () -> {
            for (MessageExt message : consumer.poll(100)) {
                bodies.add(Env.body(message));
            }
            return bodies.size() >= count;
        });
        return bodies;
    }

    private static void subscribe(Env env) throws Exception {
        String topic = env.topic("lite-subscribe", 4);
        DefaultMQProducer producer = env.producer(topic);
        List<String> a = Env.sendMany(producer, topic, "A", "a", 20);
        Env.sendMany(producer, topic, "B", "b", 20);
        DefaultLitePullConsumer consumer = lite(env, "C-" + topic);
        consumer.subscribe(topic, "A");
        consumer.start();
        Env.sameElements("bodies", a, poll(consumer, 20));
        consumer.commit();
        consumer.shutdown();

        List<String> later = Env.sendMany(producer, topic, "A", "later", 8);
        DefaultLitePullConsumer next = lite(env, "C-" + topic);
        next.subscribe(topic, "A");
        next.start();
        Env.sameElements("bodies after the commit", later, poll(next, 8));
        next.shutdown();
        producer.shutdown();
    }

    private static void assignAndSeek(Env env) throws Exception {
        String topic = env.topic("lite-assign", 2);
        DefaultMQProducer producer = env.producer(topic);
        MessageQueue queue = new MessageQueue(topic, env.brokerName, 1);
        long middle = 0;
        for (int i = 0; i < 30; i++) {
            if (i == 15) {
                Thread.sleep(20);
                middle = System.currentTimeMillis();
                Thread.sleep(20);
            }
            producer.send(Env.message(topic, "T", "s" + i), queue);
        }
        DefaultLitePullConsumer consumer = lite(env, "C-" + topic);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        Env.equal("queues", 2, queues.size());
        consumer.assign(List.of(queue));
        // A pull that is on its way when the client seeks can bring its messages after the seek, whatever the server does.
        Env.equal("from the first offset", "s0", poll(consumer, 30).get(0));
        consumer.seek(queue, 10);
        Env.equal("from offset 10", "s10", poll(consumer, 20).get(0));
        consumer.seekToBegin(queue);
        Env.equal("from the beginning", "s0", poll(consumer, 30).get(0));
        Env.equal("offset for a time", 15L, (long) consumer.offsetForTimestamp(queue, middle));
        consumer.seekToEnd(queue);
        producer.send(Env.message(topic, "T", "new"), queue);
        Env.equal("from the end", List.of("new"), poll(consumer, 1));
        consumer.commit();
        Env.await("the committed offset", 5_000, () -> consumer.committed(queue) == 31);
        consumer.shutdown();
        producer.shutdown();
    }
}
