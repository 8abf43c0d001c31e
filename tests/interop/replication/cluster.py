"""A cluster of one scenario: its nodes, and what is compared between them."""
import json
import re
import time

from .nodes import LIMIT_S, Client, Node, check, until

FILE_SIZE = 1 << 20
LOG_LINES = 20
# As upstream numbers the requests: topics, offsets of consumers, offsets of delay levels, groups.
METADATA = {"topics": 21, "consumer offsets": 43, "delay offsets": 45, "groups": 201}
BROKER = {
    "brokerClusterName": "DefaultCluster", "brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1", "bindAddress": "127.0.0.1",
    "flushDiskType": "ASYNC_FLUSH", "mappedFileSizeCommitLog": FILE_SIZE, "maxMessageSize": 65536, "slaveReadEnable": "true", "autoCreateTopicEnable": "true",
    "registerNameServerPeriod": 10000, "metricsExporterType": "DISABLE",
    # So that a scenario need not wait for half a minute; and transactions are asked about soon.
    # Apache's broker may keep a member of a group whose connection was closed at the wrong moment, until this is over.
    "channelExpiredTimeout": 10000,
    "transactionTimeOut": 3000, "transactionCheckInterval": 1000, "transactionCheckMax": 1000, "transactionOpBatchInterval": 100,
}


class Cluster:
    """Everything that it starts is gone after `end`."""

    def __init__(self, folder, ports, binary, java):
        self.folder, self.ports, self.binary, self.java = folder, ports, binary, java
        self.nodes, self.client = [], None
        self.namesrv = ""

    def node(self, part, name, settings):
        node = Node(part, name, self.folder / name, self.ports.take(), {}, self.binary)
        node.settings = {"listenPort": node.port} | settings
        self.nodes.append(node)
        return node

    def name_servers(self, *kinds, **more):
        servers = []
        for i, kind in enumerate(kinds):
            folder = self.folder / f"namesrv-{i}"
            settings = {"bindAddress": "127.0.0.1", "kvConfigPath": folder / "kvConfig.json", "scanNotActiveBrokerInterval": 1000} | more
            servers.append(self.node("namesrv", folder.name, settings).start(kind))
        self.namesrv = ";".join(server.address for server in servers)
        return servers

    def controllers(self, kind, count):
        """Starts so many controllers; returns them."""
        nodes = [self.node("controller", f"controller-{kind}-{i}", {}) for i in range(count)]
        peers = ";".join(f"n{i}-{node.address}" for i, node in enumerate(nodes))
        for i, node in enumerate(nodes):
            node.settings = {"controllerDLegerGroup": "group1", "controllerDLegerPeers": peers, "controllerDLegerSelfId": f"n{i}",
                             "controllerStorePath": node.folder / "store"}
            node.start(kind)
        return nodes

    def broker(self, name, group, broker_id, role, **settings):
        """A broker that is not started."""
        store = self.folder / name / "store"
        return self.node("broker", name, BROKER | {
            "brokerName": group, "brokerId": broker_id, "brokerRole": role, "namesrvAddr": self.namesrv,
            "storePathRootDir": store, "storePathCommitLog": store / "commitlog"} | settings)

    def clients(self, *masters):
        """Starts the Java client, and creates the topic at these brokers."""
        self.client = Client(self.java, self.namesrv, self.folder)
        self.client.do("topic", *(master.address for master in masters))
        until("the route", lambda: {master.address for master in masters} <= set(self.masters()))
        self.client.do("start")

    def runtime(self, node, key):
        # Apache's broker may fail to answer while it has just begun to count.
        return until(f"{node.name} to tell {key}", lambda: self.client.do("runtime", node.address, key))

    def log_end(self, node):
        return int(self.runtime(node, "commitLogMaxOffset"))

    def caught_up(self, master, slave):
        until(f"{slave.name} to have all of {master.name}: {master.address} -> {slave.address}",
              lambda: self.log_end(master) == self.log_end(slave))

    def close(self, master, slave):
        """Waits until a slave follows under load: it has what its master had a moment ago."""
        end = self.log_end(master)
        until(f"{slave.name} to follow {master.name}", lambda: self.log_end(slave) >= end)

    def shown(self, master, slave):
        """Waits until a slave shows all that its master does: later than it has it, where a controller elects the master."""
        self.caught_up(master, slave)
        until(f"{slave.name} to show all of {master.name}",
              lambda: self.client.do("ends", master.address) == self.client.do("ends", slave.address))

    def masters(self, server=None):
        """The masters that a name server tells, or the first one."""
        return set(self.client.do("masters", server.address if server else self.namesrv.split(";")[0]).split())

    def same_logs(self, master, slave):
        """The slave's log is the master's, byte for byte; returns from and to where."""
        end = self.log_end(slave)
        ours, theirs = slave.log(), master.log()
        begin = max(min(ours), min(theirs))
        for offset in sorted(ours):
            if offset >= begin and offset < end:
                length = min(FILE_SIZE, end - offset)
                one, other = (files[offset].read_bytes()[:length] for files in (ours, theirs))
                check(one == other, f"file {offset} of {slave.name} differs from that of {master.name} from byte "
                      f"{next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), length)} on")
        return begin, end

    def replicas(self, controllers, group):
        """What the controllers tell of a group: the address of its master, the epoch, and the ids that are in sync."""
        master, epoch, ids = self.client.do("replicas", ";".join(node.address for node in controllers), group).split(" ")
        return master, int(epoch), sorted(map(int, filter(None, ids.split(","))))

    def metadata(self, node, what):
        """What a broker tells of its topics and so on."""
        told = self.client.do("metadata", node.address, METADATA[what]) or "{}"
        # Apache's JSON has numbers as keys.
        table = json.loads(re.sub(r"([{,])(\d+):", r'\1"\2":', told))
        # Each has versions of its own, and Apache's slave doesn't take over which topics a group has consumed.
        for own in ("dataVersion", "groupTopicMap"):
            table.pop(own, None)
        return table

    def same_metadata(self, master, slave):
        # Apache's slave cannot read the offsets of consumers that Apache's master sends.
        unread = "consumer offsets" if master.kind == slave.kind == "apache" else ""
        for what in METADATA.keys() - {unread}:
            def is_same():
                missing = difference(self.metadata(master, what), self.metadata(slave, what))
                check(not missing, f"{what} of {slave.name} are not those of {master.name}: {missing}")
                return True
            # Apache's slave asks for all this once in a minute.
            until(f"{what} of {slave.name}", is_same)

    def consumed(self, what="all", seconds=LIMIT_S):
        """Waits until consumers have all that was acknowledged, or all 'plain' messages."""
        promised, again = map(int, self.client.do("consumed", seconds, what, timeout=seconds + 30).split())
        return promised, again

    def records(self, *masters):
        """Compares all that these brokers have with what was acknowledged; returns how much that is, and what is there more than once, with
        the place of the last copy in the log."""
        names = (f"{master.settings['brokerName']}={master.address}" for master in masters)
        promised, _, again = self.client.do("records", *names).partition(" ")
        split = (text.split("@") for text in again.split(",") if text)
        return int(promised), {name: int(place) for name, place in split}

    def load(self, seconds_or_work):
        """Runs the load for some time, or while something is done; returns how many were acknowledged so far."""
        self.client.do("load")
        try:
            if callable(seconds_or_work):
                seconds_or_work()
            else:
                time.sleep(seconds_or_work)
        finally:
            promised, failed = self.client.do("rest").split()
        return int(promised), int(failed)

    def print_logs(self):
        """The ends of the logs, for whoever cannot look at the files."""
        apaches = sorted(self.folder.glob("*/logs/rocketmqlogs/store.log"))
        for log in [*(node.output for node in self.nodes), *apaches, self.folder / "client.log"]:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            # Java's stack traces repeat what their first lines say.
            lines = [line[:300] for line in lines if not line.startswith("\t")]
            print(f"---- {log.relative_to(self.folder)}: the last of {len(lines)} lines", *lines[-LOG_LINES:], sep="\n")

    def end(self):
        if self.client:
            self.client.end()
        for node in self.nodes:
            node.kill()


def difference(one, other, path=""):
    """Where a JSON value differs first from another one, which may have more."""
    if isinstance(one, dict) and isinstance(other, dict):
        return next(filter(None, (difference(value, other.get(key), f"{path}/{key}") for key, value in sorted(one.items()))), "")
    return "" if one == other else f"{path}: {one} / {other}"
