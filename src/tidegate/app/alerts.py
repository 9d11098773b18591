"""Alerts put together: rules, figures, channels, the duty of the leader, and the desk of the API."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tidegate.channels.opening import open_channels
from tidegate.core.alert_rules import Level, default_rules
from tidegate.ports import Channel, Clock, Host, Store
from tidegate.server.alerts.desk import AlertDesk
from tidegate.server.alerts.figures import (
    ChannelFigures,
    FigureSource,
    MachineFigures,
    QueueFigures,
    RecoveryFigures,
    ToldFigures,
    WorkerFigures,
    WorkFigures,
)
from tidegate.server.alerts.post import Post
from tidegate.server.leader import Leadership
from tidegate.server.services.alerts import WatchAlerts
from tidegate.settings import Settings


@dataclass(frozen=True, slots=True)
class Alerting:
    """The parts. What other parts of the server know goes to `told`; `post` is to be started and stopped."""

    told: ToldFigures
    post: Post
    desk: AlertDesk
    watch: WatchAlerts


def channels_of(settings: Settings) -> dict[str, Channel]:
    """The channels of the settings. Raises SettingError for a URL that cannot be used."""
    return open_channels({name: url.get_secret_value() for name, url in settings.alert_channels.items()})


def make_alerting(settings: Settings, store: Store, clock: Clock, leader: Leadership, host: Host) -> Alerting:
    """Raises SettingError for a channel that cannot be used."""
    channels = channels_of(settings)
    least = {name: Level.of(settings.alert_levels.get(name, Level.WARNING.word)) for name in channels}
    rules = default_rules(settings.max_waiting)
    machine = socket.gethostname()
    place = settings.cluster_name if settings.broker_url is not None else machine
    post = Post(list(channels.values()), store, clock, leader, rules, place)
    told = ToldFigures()
    sources: list[FigureSource] = [
        MachineFigures(host, machine),
        WorkerFigures(store, machine),
        QueueFigures(store),
        WorkFigures(store),
        ChannelFigures(store, list(channels)),
        RecoveryFigures(store),
        told,
    ]
    return Alerting(
        told,
        post,
        AlertDesk(store, clock, rules, least, post),
        WatchAlerts(store, sources, rules, least, post, clock, leader, interval_s=settings.alert_every_s),
    )
