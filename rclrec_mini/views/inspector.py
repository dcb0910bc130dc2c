"""The curriculum inspector: a widget for JupyterLab and Colab, and the same view as HTML for a static page.

inspector = views.Inspector("runs/rclrec", "runs/shop")     # any run, any prepared data
inspector                                                   # in a notebook: the view, linked to its traits
inspector.user, inspector.k = 12, 2                         # the view follows, and so do these:
inspector.selected, inspector.top10
inspector.page()                                            # the view without Python behind it
"""

from collections.abc import Mapping
from copy import deepcopy
from itertools import accumulate
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from rclrec_mini.experiments.materials import Materials
from rclrec_mini.files import InputError
from rclrec_mini.models.rclrec import RCLRec
from rclrec_mini.views.live.bundle import bundle, style
from rclrec_mini.views.live.engine import Engine
from rclrec_mini.views.live.export import USERS, export, load_models
from rclrec_mini.views.live.page import Page
from rclrec_mini.views.live.still import still

OWN = ("selector", "k", "tau")  # of which a model has its own
COLUMNS = {"items": "item", "behaviors": "behavior", "timestamps": "timestamp"}  # of a question, from a history
MISSED = (
    "Scripts are off, so this picture stands still. With them the model itself runs in the page: choose another user, "
    "selector, length or temperature, change the history, and see the curriculum and the ten best items follow."
)


class Inspector(anywidget.AnyWidget):
    """One user's history, what a selector takes of it, and what that does to the model's list.

    Args:
        models: a run's folder; or under each name a run's folder or a model in memory.
        data: the prepared data that they were trained on, a folder or in memory.
        users: how many test users can be chosen.
        titles: what models are called where it is not their name.
        engine: who answers the view: "page", the model in JavaScript, or "kernel", Python.
        **state: user, model, selector, k, tau, history to begin with.

    Attributes:
        user: one of `users`. Another user brings that user's own history.
        history: [{item, behavior, timestamp, journey}], oldest first; may be set to any other.
        model, selector, k, tau: the controls.
        selected: columns of the curriculum in ascending relevance; read only, as is
        top10: [{item, logp, title}] with the curriculum, best first.

    Raises:
        InputError: as export.export and export.load_models, or a value of the state does not fit.
    """

    _esm = bundle("inspector")
    _css = style("inspector")

    user = traitlets.Int().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    selector = traitlets.Unicode().tag(sync=True)
    k = traitlets.Int().tag(sync=True)
    tau = traitlets.Float().tag(sync=True)
    history = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected = traitlets.List(traitlets.Int(), read_only=True).tag(sync=True)
    top10 = traitlets.List(traitlets.Dict(), read_only=True).tag(sync=True)
    engine = traitlets.Enum(("page", "kernel"), "page").tag(sync=True)

    def __init__(
        self, models: Path | str | Mapping[str, Path | str | RCLRec], data: Path | str | Materials, *,
        users: int = USERS, titles: Mapping[str, str] | None = None, engine: str = "page", **state: Any,
    ):  # fmt: skip
        models, materials = _loaded(models, data)
        self._exported = export(models, materials, users=users, titles=titles)
        self._people = {person["user"]: person for person in self._exported["users"]}
        self._engine = Engine(models, materials)
        self._settled = self._from_page = False
        name = state.pop("model", next(iter(models)))
        own = {"user": next(iter(self._people)), **{key: self._exported["models"][name][key] for key in OWN}}
        super().__init__(engine=engine, **{"model": name, **own, **state})
        if "history" not in state:
            self.history = self.original()
        self._settled = True
        self.on_msg(self._heard)
        self._answer()

    @property
    def users(self) -> list[int]:
        """Those who can be chosen."""
        return list(self._people)

    @property
    def exported(self) -> dict[str, Any]:
        """What the page computes from, see live/export.py."""
        return self._exported

    def original(self, user: int | None = None) -> list[dict[str, int | None]]:
        """A user's own history, by default of the one who is shown."""
        person = self._people[self.user if user is None else user]
        columns = person["items"], person["behaviors"], accumulate(person["timestamps"])
        journey = person["journey"] or [None] * len(person["items"])
        names = ("item", "behavior", "timestamp", "journey")
        return [dict(zip(names, event, strict=True)) for event in zip(*columns, journey, strict=True)]

    def question(self, **changes: Any) -> dict[str, Any]:
        """What the view asks now, in the form of live/engine.py; or what it would ask with another user, who has a
        history of their own, another model, which has its own selector, k and tau, or another `history`."""
        user, model = changes.get("user", self.user), changes.get("model", self.model)
        shown = {name: getattr(self, name) for name in OWN}
        if model != self.model:
            shown = {name: self._exported["models"][model][name] for name in OWN}
        history = changes.pop("history", self.history if user == self.user else self.original(user))
        person = self._people[user]
        columns = {many: [event[one] for event in history] for many, one in COLUMNS.items()}
        journey = person["journey"] and [event.get("journey") or 0 for event in history]
        target = {"target": person["target"]["item"], "row": person["target"]["row"]}
        return {"model": model, "user": user, **shown, **columns, "journey": journey, **target, **changes}

    def answer(self, **changes: Any) -> dict[str, Any]:
        """Python's answer to `question`, see live/engine.py."""
        return self._engine.answer(self.question(**changes))

    def page(self, name: str = "inspector") -> Page:
        """The view as HTML that needs no Python, no widgets and no network, as it stands now.

        Args:
            name: of the view on its page; an address that ends in #NAME?... restores a state.
        """
        state = {trait: getattr(self, trait) for trait in ("user", "model", *OWN, "history")}
        return Page(
            name=name, module=self._esm, css=self._css, exported=self._exported, state=state,
            still=still(self._exported, self.question(), self.answer()), missed=MISSED,
        )  # fmt: skip

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """What the page set: it keeps history and controls in step by itself."""
        self._from_page = True
        try:
            super().set_state(sync_data)
        finally:
            self._from_page = False

    @traitlets.validate("user", "model")
    def _known(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        known = self._people if name == "user" else self._exported["models"]
        if value not in known:
            shown = ", ".join(map(str, list(known)[:10])) + (", …" if len(known) > 10 else "")
            raise InputError(f"{name}: found {value}, expected one of {shown}")
        return value

    @traitlets.validate("selector")
    def _of_the_model(self, proposal: dict[str, Any]) -> str:
        known = self._engine.selectors(self.model)
        if self._settled and proposal["value"] not in known:
            raise InputError(f"selector: found {proposal['value']}, expected one of {', '.join(known)}")
        return proposal["value"]

    @traitlets.observe("user", "model", "history", *OWN)
    def _changed(self, change: dict[str, Any]) -> None:
        if not self._settled:
            return
        if not self._from_page:
            self._follow(change)
        self._answer()

    def _follow(self, change: dict[str, Any]) -> None:
        """Another user has another history; of another model's own numbers those are taken that were the old one's."""
        self._settled = False
        if change["name"] == "user":
            self.history = self.original()
        elif change["name"] == "model":
            old, new = (self._exported["models"][change[which]] for which in ("old", "new"))
            for name in OWN:
                if getattr(self, name) == old[name]:
                    setattr(self, name, new[name])
            if self.selector not in self._engine.selectors(self.model):
                self.selector = new["selector"]
        self._settled = True

    def _answer(self) -> None:
        answer, titles = self.answer(), self._exported["items"].get("title")
        self.set_trait("selected", answer["selected"])
        top = [{**one, "title": titles and titles[one["item"]]} for one in answer["with"]["top"]]
        self.set_trait("top10", top)

    def _heard(self, widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        """What the view asks: the export once, and with engine="kernel" its questions."""
        if content.get("kind") == "export":
            told = {"kind": "export", "exported": self._exported}
            if self.engine == "kernel":
                models = self._exported["models"]
                light = {name: {**model, "tensors": {}} for name, model in models.items()}
                told["exported"] = {**self._exported, "models": light}
                told["selectors"] = {name: self._engine.selectors(name) for name in models}
            self.send(told)
        elif content.get("kind") == "question":
            try:
                told = {"answer": self._engine.answer(content["question"])}
            except InputError as error:
                told = {"error": str(error)}
            self.send({"kind": "answer", "id": content["id"], **told})


def _loaded(models: Any, data: Any) -> tuple[dict[str, RCLRec], Materials]:
    """Models and materials, from folders or from memory."""
    if not isinstance(models, Mapping):
        models = {Path(models).name: models}
    if all(isinstance(model, RCLRec) for model in models.values()) and isinstance(data, Materials):
        on_cpu = {name: m if m.codes.is_cpu else deepcopy(m).cpu() for name, m in models.items()}
        return {name: model.eval() for name, model in on_cpu.items()}, data
    folder = data.folder if isinstance(data, Materials) else data
    return load_models({name: Path(run) for name, run in models.items()}, folder)
