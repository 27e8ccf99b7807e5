"""What `monitor.stats.plan` is fed with: a catalogue file, and the load that the store has seen."""

from monitor.plan.catalogue import PACKAGED, read_catalogue
from monitor.plan.choose import choose_model
from monitor.plan.measured import load_from_store, models_seen
from monitor.plan.render import to_json, to_record

__all__ = ["PACKAGED", "choose_model", "load_from_store", "models_seen", "read_catalogue", "to_json", "to_record"]
