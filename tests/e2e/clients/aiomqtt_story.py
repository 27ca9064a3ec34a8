"""The same story with every client: see tests/e2e/src/third_party.rs. Here aiomqtt, on asyncio."""

import asyncio
import os
import ssl
import sys

import aiomqtt
from aiomqtt import Client, ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, version, device = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
ca = sys.argv[5] if len(sys.argv) > 5 else None
prefix = f"muster/v1/{device}"


def client(name, **options):
    if version == 5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        options |= {"protocol": ProtocolVersion.V5, "clean_start": False, "properties": properties}
    else:
        options |= {"protocol": ProtocolVersion.V311, "clean_session": False}
    if ca:
        options["tls_context"] = ssl.create_default_context(cafile=ca)
    return Client(host, port, identifier=f"aiomqtt-{version}-{device}-{name}", **options)


async def take(listener):
    return await asyncio.wait_for(anext(listener.messages), 20)


async def story():
    async with client("sensor", will=aiomqtt.Will(f"{prefix}/running", "0", qos=1)) as sensor:
        async with client("listener") as listener:
            await listener.subscribe(f"{prefix}/#", qos=2)
            for qos in (0, 1, 2):
                await sensor.publish(f"{prefix}/level", str(qos), qos=qos)
                message = await take(listener)
                assert (message.payload, message.qos, message.retain) == (str(qos).encode(), qos, False)
        await sensor.publish(f"{prefix}/level", "3", qos=1)
        await sensor.publish(f"{prefix}/level", "4", qos=2)
        await sensor.publish(f"{prefix}/kept", "5", qos=1, retain=True)
        async with client("listener") as listener:
            # A message of QoS 2 is shown at its PUBREL: later ones of QoS 1 may stand before it.
            assert sorted([(await take(listener)).payload for _ in range(3)]) == [b"3", b"4", b"5"]
            async with client("late") as late:
                await late.subscribe(f"{prefix}/kept", qos=1)
                message = await take(late)
                assert message.retain and message.payload == b"5"
            # As when the power fails: no DISCONNECT.
            sensor._client.socket().close()
            message = await take(listener)
            assert (message.topic.value, message.payload) == (f"{prefix}/running", b"0")

            # The sensor has no socket to say goodbye on, and aiomqtt waits for one: the story is told.
            os._exit(0)


asyncio.run(story())
