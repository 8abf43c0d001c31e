"""A group of two brokers whose master a controller elects."""
import time

from .nodes import Failed, check, until

NAME = "broker-a"
# When a replica that is not in sync counts as stalled.
STALLED_S = 60


class Group:
    """The first of the two is the master at first; they change places with each fail-over."""

    def __init__(self, cluster, controllers, kinds):
        self.cluster = cluster
        cluster.name_servers("apogee")
        self._controllers(controllers)
        self.master, self.replica = (
            cluster.broker(f"broker-{i}", NAME, -1, "SYNC_MASTER", enableControllerMode="true", controllerAddr=self.addresses,
                           allAckInSyncStateSet="true") for i in range(2))
        # Who was the master in which epoch.
        self.reigns = {}
        self.master.start(kinds[0])
        self.replica.start(kinds[1])
        cluster.clients(self.master)
        self._both_in_sync()

    def _controllers(self, kind):
        self.controllers = self.cluster.controllers(kind, 1 if kind == "apache" else 3)
        self.addresses = ";".join(node.address for node in self.controllers)

    def fail_over(self):
        """Kills the master, and starts it again when the other one has been the master for a while."""
        self._change_places(lambda master: master.kill())

    def brokers_become(self, kind):
        """Starts both brokers again as another kind, the replica first."""
        self._both_in_sync()
        self.replica.stop()
        self.replica.start(kind)
        self._change_places(lambda master: master.stop(), kind)

    def _change_places(self, end, kind=None):
        self._both_in_sync()
        until(f"{self.replica.name} to have the topic", lambda: self._has_topic(self.replica))
        # Apache's broker keeps no epoch that begins where the one before does: whose master wrote nothing.
        begin = max(self.master.epochs().values())
        until("something of this epoch to be written", lambda: self.cluster.log_end(self.replica) > begin)
        end(self.master)
        self.master, self.replica = self.replica, self.master
        until(f"{self.master.name} to be master", lambda: self._is_master(1))
        until("the route", lambda: self.master.address in self.cluster.masters())
        # A while with the new master.
        time.sleep(3)
        self.replica.start(kind or self.replica.kind)
        self._both_in_sync()

    def go_to(self, kind):
        """Gives the group to new controllers."""
        self._both_in_sync()
        self.replica.stop()
        self.master.stop()
        for controller in self.controllers:
            controller.kill()
        self._controllers(kind)
        for broker in (self.master, self.replica):
            # It joins as one that the controllers don't know, with its log.
            (broker.folder / "store" / "brokerIdentity").unlink()
            broker.start(broker.kind, controllerAddr=self.addresses)
            if broker is self.master:
                until(f"{broker.name} to be master", lambda: self._is_master(1))
        self._both_in_sync()

    def compared(self):
        """Compares all that both brokers have with what was acknowledged, and tells what it was."""
        cluster = self.cluster
        promised, again = cluster.consumed()
        cluster.shown(self.master, self.replica)
        cluster.same_logs(self.master, self.replica)
        _, twice = cluster.records(self.master)
        cluster.records(self.replica)
        self._check_twice(twice)
        return f"{promised} messages, epochs {sorted(self.reigns)}, {again} consumed again, {len(twice)} stored twice because of Apache's"

    def _both_in_sync(self):
        what, is_so = f"{self.replica.name} to be in sync", lambda: self._is_master(2)
        if self.master.kind == self.replica.kind == "apache":
            # After a fail-over Apache's replica of Apache's master may report one and the same offset for ever; its operator starts it again.
            try:
                return until(what, is_so, STALLED_S)
            except Failed:
                self.replica.kill()
                self.replica.start("apache")
        until(what, is_so)

    def _is_master(self, in_sync):
        master, epoch, ids = self.cluster.replicas(self.controllers, NAME)
        if master != self.master.address or len(ids) != in_sync:
            return False
        self.reigns[epoch] = self.master.kind
        return True

    def _has_topic(self, node):
        return "replication" in self.cluster.metadata(node, "topics").get("topicConfigTable", {})

    def _check_twice(self, names):
        """Our masters store nothing twice but what an Apache master before them delivered in its last seconds, which its log doesn't
        tell; Apache's do so with whatever is delivered later."""
        epochs, ours = self.master.epochs(), []
        for name, place in names.items():
            epoch = max((epoch for epoch, begin in epochs.items() if begin <= place), default=0)
            before = self.reigns.get(max((other for other in self.reigns if other < epoch), default=0))
            by_apache = self.reigns.get(epoch) != "apogee" or before == "apache" and name.startswith(("delayed", "timed"))
            if name.startswith("plain") or not by_apache:
                ours.append(f"{name} in epoch {epoch} of {self.reigns}")
        check(not ours, f"stored twice: {ours}")
