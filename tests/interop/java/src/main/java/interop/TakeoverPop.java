package interop;

import interop.RawPop.Popped;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/**
 * A group that pops, over a change of servers: of what is popped some is acknowledged, some renewed, some out; some is noted in
 * the log by then, some is not. The next server hands out each message that is not consumed, and takes the former one's handles.
 */
final class TakeoverPop {
    private static final String TOPIC = "takeover-popped";
    private static final String GROUP = "C-" + TOPIC;
    private static final int MESSAGES = 24;
    /** Long enough to be out when the next server has started, and short enough to wait for. */
    private static final int OUT_MS = 45_000;
    private static final int MARGIN_MS = 5_000;
    private static final int SOON_MS = 20_000;

    /** Not consumed. */
    private final Set<String> open = new TreeSet<>();
    /** Acknowledged, and noted in the log or known to the server that stopped: must not come again. */
    private final Set<String> done = new TreeSet<>();
    /** May come once more: what was popped or given back just before a kill. Apache's broker saves its offsets every 5 s. */
    private final Set<String> mayCome = new TreeSet<>();
    /** Out, to be acknowledged and given back by handles of the server before. */
    private final List<Popped> held = new ArrayList<>();

    static void create(Env env) throws Exception {
        env.topic(TOPIC, 2);
    }

    /** Leaves messages in all states that the log is to know of; what they go on with {@link #leaveAtLast}. */
    void leave(Env env, DefaultMQProducer producer, String name, boolean isKilled) throws Exception {
        open.addAll(Env.sendMany(producer, TOPIC, "A", name + "popped-", MESSAGES));
        RawPop group = new RawPop(env, GROUP, TOPIC);
        List<Popped> out = new ArrayList<>();
        for (int pops = 0; pops < 6; pops++) {
            out.addAll(some(group, 3, pops == 0 ? SOON_MS : OUT_MS));
        }
        out.subList(0, isKilled ? 3 : 0).forEach(popped -> mayCome.add(popped.body()));
        for (int i = 3; i < out.size(); i += 3) {
            ack(group, out.get(i));
            done.add(out.get(i).body());
        }
        for (Popped one : List.of(out.get(4), out.get(5))) {
            RemotingCommand changed = group.change(one, OUT_MS);
            Env.equal("a change", ResponseCode.SUCCESS, changed.getCode());
            held.add(RawPop.renewed(one, changed));
        }
        held.add(out.get(7));
    }

    /** Just before the server goes: what may be nowhere but in its memory. */
    void leaveAtLast(Env env, boolean isKilled) throws Exception {
        RawPop group = new RawPop(env, GROUP, TOPIC);
        List<Popped> out = some(group, 3, OUT_MS);
        ack(group, out.get(1));
        done.add(out.get(1).body());
        out.subList(0, isKilled ? out.size() : 0).forEach(popped -> mayCome.add(popped.body()));
    }

    /** Consumes all that is left, the last by handles of the server before. */
    void consume(Env env) throws Exception {
        RawPop group = new RawPop(env, GROUP, TOPIC);
        // Where the server took long to start, their time is up: they come again.
        held.removeIf(one -> one.due() < System.currentTimeMillis() + MARGIN_MS);
        for (int i = 0; i < held.size(); i++) {
            Popped one = held.get(i);
            if (i == 0) {
                Env.equal("giving " + one + " back", ResponseCode.SUCCESS, group.change(one, 0).getCode());
            } else {
                ack(group, one);
                done.add(one.body());
            }
        }
        held.clear();
        open.removeAll(done);
        long deadline = System.currentTimeMillis() + 90_000;
        while (!open.isEmpty()) {
            Env.check(System.currentTimeMillis() < deadline, "messages that were popped do not come: " + open);
            take(group);
        }
        // Not only what was out: also what was acknowledged has had its time by now.
        long quiet = System.currentTimeMillis() + OUT_MS / 3;
        while (System.currentTimeMillis() < quiet) {
            take(group);
        }
        mayCome.clear();
    }

    private void take(RawPop group) throws Exception {
        for (Popped popped : group.pop(8, OUT_MS, 1_000)) {
            String body = popped.body();
            Env.check(!done.contains(body) || mayCome.remove(body), "consumed, and came again: " + popped);
            Env.check(open.remove(body) || done.contains(body), "came, and nobody sent it: " + popped);
            ack(group, popped);
            done.add(body);
        }
    }

    private static List<Popped> some(RawPop group, int count, long invisibleMs) throws Exception {
        List<Popped> popped = new ArrayList<>();
        for (int pops = 0; popped.size() < count; pops++) {
            Env.check(pops < 20, "got " + popped.size() + " of " + count);
            popped.addAll(group.pop(count - popped.size(), invisibleMs, 1_000));
        }
        return popped;
    }

    private static void ack(RawPop group, Popped popped) throws Exception {
        RemotingCommand answer = group.ack(popped);
        Env.check(answer.getCode() == ResponseCode.SUCCESS, "the acknowledgement of " + popped + ": " + answer.getCode() + " " + answer.getRemark());
    }
}
