"""The ClientApp: one part of the digits each."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits.digits_model import Digits

app = ClientApp()


def _digits(message: Message, context: Context) -> Digits:
    digits = Digits(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))
    digits.parameters = message.content["arrays"].to_numpy_ndarrays()
    return digits


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train one round."""
    digits = _digits(message, context)
    metrics = MetricRecord({"num-examples": digits.fit()})
    content = RecordDict({"arrays": ArrayRecord(digits.parameters), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model."""
    loss, accuracy, examples = _digits(message, context).evaluate()
    metrics = MetricRecord({"num-examples": examples, "loss": loss, "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
