"""Replication in mixtures of Apache's servers and ours: who is master, who is slave, who elects."""
import os
import pathlib
import shutil
import tempfile
import time

from .cluster import FILE_SIZE, Cluster
from .elected import Group
from .nodes import LIMIT_S, Failed, Ports, check, until

# Below those that systems give to clients.
FIRST_PORT = int(os.environ.get("REPLICATION_PORT", 27000))


def follow(cluster, master_kind, slave_kind):
    """A slave follows, its master dies, consumers read on from it, and it goes on as master."""
    cluster.name_servers("apogee")
    master = cluster.broker("master", "broker-a", 0, "ASYNC_MASTER").start(master_kind)
    slave = cluster.broker("slave", "broker-a", 1, "SLAVE").start(slave_kind)
    cluster.clients(master)
    client = cluster.client
    # A slave without a log begins with the master's last file.
    client.do("send")
    cluster.caught_up(master, slave)
    cluster.load(lambda: until("two files of log", lambda: cluster.log_end(master) > FILE_SIZE * 3 // 2))
    cluster.caught_up(master, slave)
    begin, end = cluster.same_logs(master, slave)
    check(begin == 0 and end > FILE_SIZE, f"the logs are equal from {begin} to {end} only")
    # What waits for its time is delivered before the master is gone.
    cluster.consumed()
    client.do("hold")
    for _ in range(20):
        client.do("send")
    cluster.caught_up(master, slave)
    cluster.same_metadata(master, slave)
    client.do("leave", 4, 30_000)
    cluster.caught_up(master, slave)
    cluster.same_logs(master, slave)
    master.kill()
    client.do("release")
    cluster.consumed("plain")
    slave.stop()
    slave.start(slave_kind, brokerRole="ASYNC_MASTER", brokerId=0)
    client.do("decide")
    cluster.load(4)
    promised, again = cluster.consumed()
    _, twice = cluster.records(slave)
    check_twice(twice, slave_kind == "apache")
    return f"{promised} messages, {end} bytes equal, {again} consumed again"


def sync(cluster, master_kind, slave_kind):
    """Double writing: a message is acknowledged when the slave has it, and its sender is told when not."""
    cluster.name_servers("apogee")
    master = cluster.broker("master", "broker-a", 0, "SYNC_MASTER", inSyncReplicas=2).start(master_kind)
    slave = cluster.broker("slave", "broker-a", 1, "SLAVE").start(slave_kind)
    cluster.clients(master)

    def send():
        status, took, offset = cluster.client.do("send").split()
        if status == "SEND_OK":
            check(master.record(int(offset)) == slave.record(int(offset)), f"the slave hadn't the record at {offset} when it was acknowledged")
        return status, int(took)

    def acknowledged():
        return send()[0] == "SEND_OK"

    def too_slow(what):
        status, took = send()
        check(status == "FLUSH_SLAVE_TIMEOUT", f"{what}: {status}")
        # slaveTimeout is 3 s, and the client's 10 s.
        check(2_500 < took < 10_000, f"{what}: told after {took} ms")

    until("the slave", acknowledged)
    check(all(acknowledged() for _ in range(50)), "not acknowledged, with a slave")
    slave.pause()
    too_slow("a slave that stands still")
    slave.resume()
    until("the slave to go on", acknowledged)
    slave.kill()
    too_slow("a slave that is gone")
    slave.start(slave_kind)
    until("the slave to be back", acknowledged)
    cluster.load(4)
    cluster.caught_up(master, slave)
    cluster.same_logs(master, slave)
    promised, _ = cluster.consumed()
    # The slave was killed before it had the topic, maybe; its log is the same.
    cluster.records(master)
    return f"{promised} messages"


def move(cluster, first, then):
    """Two groups of master and slave, and two name servers, from one kind to the other and back: one after the other, under load."""
    servers = cluster.name_servers(first, first)
    masters, slaves = [], []
    for group in ("broker-a", "broker-b"):
        masters.append(cluster.broker(f"{group}-master", group, 0, "ASYNC_MASTER").start(first))
        slaves.append(cluster.broker(f"{group}-slave", group, 1, "SLAVE").start(first))
    cluster.clients(*masters)
    for _ in range(8):
        cluster.client.do("send")
    for master, slave in zip(masters, slaves):
        cluster.caught_up(master, slave)

    def restart(node, kind):
        node.stop()
        node.start(kind)

    def all_to(kind):
        for server in servers:
            restart(server, kind)
            until("the masters' routes", lambda: cluster.masters(server) >= {master.address for master in masters})
        for master, slave in zip(masters, slaves):
            restart(slave, kind)
            cluster.close(master, slave)
            restart(master, kind)
            cluster.close(master, slave)

    def there_and_back():
        all_to(then)
        all_to(first)

    promised, failed = cluster.load(there_and_back)
    promised, again = cluster.consumed()
    for master, slave in zip(masters, slaves):
        cluster.caught_up(master, slave)
        cluster.same_logs(master, slave)
    _, twice = cluster.records(*masters)
    for master, slave in zip(masters, slaves):
        cluster.shown(master, slave)
    cluster.records(*slaves)
    check_twice(twice, True)
    return f"{promised} messages, {failed} not acknowledged, {again} consumed again"


def elect(cluster, controllers, *kinds):
    """A controller elects another master when one is killed, and the first one again when the other is killed."""
    group = Group(cluster, controllers, kinds)
    cluster.load(group.fail_over)
    cluster.load(group.fail_over)
    return group.compared()


def adopt(cluster, before, after):
    """A group of one kind's brokers under its controllers becomes one of the other kind, with what it has: its brokers one after the
    other, and then the controllers."""
    group = Group(cluster, before, [before, before])
    # So that the epochs of those that come are not those of the others.
    cluster.load(group.fail_over)
    cluster.load(lambda: group.brokers_become(after))
    cluster.load(lambda: group.go_to(after))
    cluster.load(group.fail_over)
    return group.compared()


def act(cluster, names_kind, master_kind, slave_kind):
    """A slave stands in for its master: clients are sent there to read and to lock, not to write, until the master is back."""
    server, = cluster.name_servers(names_kind, supportActingMaster="true", notifyMinBrokerIdChanged="true")
    master = cluster.broker("master", "broker-a", 0, "ASYNC_MASTER", enableSlaveActingMaster="true").start(master_kind)
    slave = cluster.broker("slave", "broker-a", 1, "SLAVE", enableSlaveActingMaster="true").start(slave_kind)
    cluster.clients(master)
    client = cluster.client

    def is_written_to(node):
        """Whether clients are told to send here, and may."""
        try:
            return cluster.masters() == {node.address} and client.do("send").startswith("SEND_OK")
        except Failed:
            return False

    cluster.load(4)
    cluster.consumed()
    client.do("hold")
    for _ in range(20):
        client.do("send")
    # Due while the master is gone.
    client.do("leave", 3, 10_000)
    cluster.caught_up(master, slave)
    cluster.same_metadata(master, slave)
    master.kill()
    until("clients to be sent to the slave", lambda: cluster.masters() == {slave.address})
    client.do("release")
    cluster.consumed("plain")
    read = client.do("ordered", LIMIT_S, timeout=LIMIT_S + 30)
    check(not is_written_to(slave), "the slave takes messages")
    master.start(master_kind)
    until("the master to take messages", lambda: is_written_to(master))
    cluster.load(4)
    client.do("decide")
    promised, again = cluster.consumed()
    cluster.shown(master, slave)
    cluster.same_logs(master, slave)
    _, twice = cluster.records(master)
    cluster.records(slave)
    check_twice(twice, master_kind == "apache", killed=True)
    return f"{promised} messages, {read} read in order at the slave, {again} consumed again"


def check_twice(names, apache, killed=False):
    """Apache's broker asks about a transaction, and delivers it again, before it has noted the decision; when it is killed it does so
    with all that it delivered in its last seconds."""
    theirs = ("committed", "delayed", "timed") if killed else ("committed",)
    names = [name for name in names if not (apache and name.startswith(theirs))]
    check(not names, f"stored twice: {names}")


SCENARIOS = [
    (follow, ["apache", "apogee"]),
    (follow, ["apogee", "apache"]),
    (sync, ["apache", "apogee"]),
    (sync, ["apogee", "apache"]),
    (move, ["apache", "apogee"]),
    (elect, ["apache", "apogee", "apogee"]),
    (elect, ["apogee", "apache", "apache"]),
    (elect, ["apache", "apache", "apogee"]),
    (elect, ["apogee", "apogee", "apache"]),
    (adopt, ["apache", "apogee"]),
    (act, ["apache", "apache", "apogee"]),
    (act, ["apogee", "apogee", "apache"]),
]
EXPECTED = [
    (follow, ["apache", "apache"]),
    (sync, ["apache", "apache"]),
    (move, ["apache", "apache"]),
    (elect, ["apache", "apache", "apache"]),
    (act, ["apache", "apache", "apache"]),
]


def run(binary, java, results, only, apache):
    """Runs the scenarios whose name has a text; with `apache` as they are with nothing but Apache's servers."""
    ports = Ports(FIRST_PORT)
    for scenario, kinds in EXPECTED if apache else SCENARIOS:
        name = f"{scenario.__name__}.{'-'.join(kinds)}"
        if only in name:
            folder = pathlib.Path(tempfile.mkdtemp(prefix=f"apogee-{name}-"))
            results_of(name, scenario, kinds, Cluster(folder, ports, binary, java), results)


def results_of(name, scenario, kinds, cluster, results):
    started = time.monotonic()
    try:
        told, ok = scenario(cluster, *kinds), True
    except Failed as failure:
        told, ok = f"{failure}; logs and data are in {cluster.folder}", False
    finally:
        cluster.end()
    results.add("", ok, name, time.monotonic() - started, told)
    if ok:
        shutil.rmtree(cluster.folder, ignore_errors=True)
    else:
        cluster.print_logs()
