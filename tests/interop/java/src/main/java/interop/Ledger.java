package interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * What was sent, what was promised of it, and what consumers got. A message's key is a name that is sent once: an attempt that
 * failed is never repeated under its name, so a name that is stored twice was not stored twice by the client.
 */
final class Ledger {
    /** Where an acknowledged message must be; only its broker's name where the broker moves it there later. */
    private record Promise(Message message, String broker, int queue, long offset) { }

    private final Map<String, Promise> promised = new ConcurrentHashMap<>();
    /** Nobody may see these: what was rolled back. */
    private final Set<String> never = ConcurrentHashMap.newKeySet();
    /** These may be there or not: their senders were told of a failure. */
    private final Set<String> maybe = ConcurrentHashMap.newKeySet();
    private final Map<String, AtomicInteger> consumed = new ConcurrentHashMap<>();

    /** A message that stands where its sender was told. */
    void promised(Message message, SendResult at) {
        maybe.remove(message.getKeys());
        promised.put(message.getKeys(), new Promise(message, at.getMessageQueue().getBrokerName(), at.getMessageQueue().getQueueId(), at.getQueueOffset()));
    }

    /** A message that will come to its topic later. */
    void promisedLater(Message message) {
        maybe.remove(message.getKeys());
        promised.put(message.getKeys(), new Promise(message, null, 0, 0));
    }

    void never(Message message) {
        never.add(message.getKeys());
    }

    void maybe(Message message) {
        maybe.add(message.getKeys());
    }

    int promises() {
        return promised.size();
    }

    int failures() {
        return maybe.size();
    }

    void consumed(MessageExt message) {
        consumed.computeIfAbsent(message.getKeys(), key -> new AtomicInteger()).incrementAndGet();
    }

    /** How many were consumed more than once. */
    long consumedAgain() {
        return consumed.values().stream().filter(times -> times.get() > 1).count();
    }

    /** What was acknowledged and stood in its queue at once. */
    Set<String> plain() {
        return promised.entrySet().stream().filter(entry -> entry.getValue().broker != null).map(Map.Entry::getKey).collect(Collectors.toSet());
    }

    /** What nobody consumed yet, with or without those that the broker delivers later. */
    List<String> notConsumed(boolean later) {
        return promised.entrySet().stream().filter(entry -> (later || entry.getValue().broker != null) && !consumed.containsKey(entry.getKey()))
            .map(Map.Entry::getKey).toList();
    }

    /** Compares all that brokers have with what was promised; returns what is there more than once: NAME@PLACE of the last copy in the log. */
    List<String> compare(Map<String, List<MessageExt>> byBroker) {
        List<String> wrong = new ArrayList<>();
        Map<String, Integer> times = new HashMap<>();
        Map<String, Long> last = new HashMap<>();
        byBroker.forEach((broker, records) -> {
            for (MessageExt record : records) {
                String name = record.getKeys();
                times.merge(name, 1, Integer::sum);
                last.merge(name, record.getCommitLogOffset(), Math::max);
                Promise promise = promised.get(name);
                if (promise == null) {
                    if (never.contains(name)) {
                        wrong.add(name + " was rolled back");
                    } else if (!maybe.contains(name)) {
                        wrong.add(name + " was never sent");
                    }
                } else if (!same(promise, record)) {
                    wrong.add(name + " is not as it was sent");
                } else if (promise.broker != null && !(promise.broker.equals(broker) && promise.queue == record.getQueueId()
                    && promise.offset == record.getQueueOffset())) {
                    wrong.add(name + " is not where it was stored: " + promise.broker + " queue " + promise.queue + " offset " + promise.offset);
                }
            }
        });
        promised.keySet().stream().filter(name -> !times.containsKey(name)).forEach(name -> wrong.add(name + " is lost"));
        Env.check(wrong.isEmpty(), names(wrong));
        return times.entrySet().stream().filter(entry -> entry.getValue() > 1).map(entry -> entry.getKey() + "@" + last.get(entry.getKey())).sorted().toList();
    }

    private static boolean same(Promise promise, MessageExt stored) {
        Message sent = promise.message;
        return Arrays.equals(sent.getBody(), stored.getBody()) && sent.getTags().equals(stored.getTags())
            && sent.getProperty("sum").equals(stored.getProperty("sum"))
            // Apache's broker loses the flag of a transaction that it asks about.
            && (promise.broker == null || sent.getFlag() == stored.getFlag());
    }

    static String names(List<String> names) {
        return names.size() + ": " + String.join(", ", names.subList(0, Math.min(8, names.size())));
    }
}
