"""The Bus over MQTT, with paho-mqtt."""

from flops.adapters.mqtt.light_paho import light_paho

with light_paho():
    from flops.adapters.mqtt.bus import MqttBus
    from flops.adapters.mqtt.connection import connect

__all__ = ["MqttBus", "connect"]
