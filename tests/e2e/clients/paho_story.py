"""The same story with every client: see tests/e2e/src/third_party.rs. Here paho-mqtt, with its network thread."""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, version, device = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
ca = sys.argv[5] if len(sys.argv) > 5 else None
PATIENCE_S = 20


class Client:
    def __init__(self, name, will=None):
        self.messages, self.connected, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue()
        protocol = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        lasting = {} if version == 5 else {"clean_session": False}
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"paho-{version}-{device}-{name}", protocol=protocol, **lasting
        )
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)
        self.client.on_connect = lambda _c, _u, flags, code, _p: self.connected.put((flags.session_present, code))
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: self.subscribed.put(codes)
        if will:
            self.client.will_set(*will, qos=1)
        if ca:
            self.client.tls_set(ca)

    def connect(self):
        options = {}
        if version == 5:
            options["clean_start"] = False
            options["properties"] = Properties(PacketTypes.CONNECT)
            options["properties"].SessionExpiryInterval = 600
        self.client.connect(host, port, 30, **options)
        self.client.loop_start()
        present, code = self.connected.get(timeout=PATIENCE_S)
        assert not code.is_failure, code
        return present

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        codes = self.subscribed.get(timeout=PATIENCE_S)
        assert [code.value for code in codes] == [qos], codes

    def publish(self, topic, payload, qos, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(PATIENCE_S)

    def take(self):
        return self.messages.get(timeout=PATIENCE_S)

    def disconnect(self):
        self.client.disconnect()
        self.client.loop_stop()

    def lose(self):
        """As when the power fails: no DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


prefix = f"muster/v1/{device}"
listener = Client("listener")
assert not listener.connect()
listener.subscribe(f"{prefix}/#", 2)
sensor = Client("sensor", will=(f"{prefix}/running", "0"))
sensor.connect()
for qos in (0, 1, 2):
    sensor.publish(f"{prefix}/level", str(qos), qos)
    message = listener.take()
    assert (message.payload, message.qos, message.retain) == (str(qos).encode(), qos, False), vars(message)

listener.disconnect()
sensor.publish(f"{prefix}/level", "3", 1)
sensor.publish(f"{prefix}/level", "4", 2)
assert listener.connect(), "the session is there"
assert [listener.take().payload for _ in range(2)] == [b"3", b"4"]

sensor.publish(f"{prefix}/kept", "5", 1, retain=True)
listener.take()
late = Client("late")
late.connect()
late.subscribe(f"{prefix}/kept", 1)
message = late.take()
assert message.retain and message.payload == b"5", vars(message)

sensor.lose()
message = listener.take()
assert (message.topic, message.payload) == (f"{prefix}/running", b"0"), message.topic
late.disconnect()
listener.disconnect()
