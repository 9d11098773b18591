"""Every setting: its name, default and help, in one table.

Sources, the later wins: defaults, `tidegate.toml` in the working folder, files that `..._FILE` variables name, environment
variables `TIDEGATE_*`, command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tidegate.core.names import check_labels
from tidegate.core.resources import GIB, MIB, Resources, parse_bytes, parse_cpus
from tidegate.core.retry import Losses
from tidegate.errors import InvalidInput, SettingError

ANYONE = "anyone-may-do-everything"
"""The value of `anonymous_access` that does without keys wherever the server listens."""
_LOOPBACK_NAMES = frozenset({"localhost", "::1", "[::1]"})


class _Files(PydanticBaseSettingsSource):
    """URLs that may hold a password, from files: `DATABASE_URL_FILE=/run/secrets/database_url`. The environment of a process
    can be read by more than may read such a file."""

    fields = ("database_url", "broker_url", "redis_url")

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value and the name that other sources know it by, which is the first that the environment may use."""
        names = _environment_names(field)
        place = next((os.environ[f"{name}_FILE"] for name in names if os.environ.get(f"{name}_FILE")), None)
        if place is None or any(name in os.environ for name in names):
            return None, names[0], False
        try:
            return Path(place).read_text("utf-8").strip(), names[0], False
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it holds no text"
            raise SettingError(f"{field_name}: the file {place} cannot be read: {why}.") from None

    def __call__(self) -> dict[str, Any]:
        model = self.settings_cls.model_fields
        found = [self.get_field_value(model[name], name) for name in self.fields]
        return {name: value for value, name, _ in found if value is not None}


def _environment_names(field: FieldInfo) -> list[str]:
    assert isinstance(field.validation_alias, AliasChoices)
    return [name for name in field.validation_alias.choices if isinstance(name, str) and name.isupper()]


class Settings(BaseSettings):
    """All settings of a server. Amounts of memory and disk are bytes or text such as `2GiB`."""

    model_config = SettingsConfigDict(
        env_prefix="TIDEGATE_", toml_file="tidegate.toml", extra="ignore", frozen=True, populate_by_name=True
    )

    environment: Literal["development", "production"] = Field(
        "production",
        description="Chooses defaults, such as how many database connections are kept.",
        validation_alias=AliasChoices("TIDEGATE_ENVIRONMENT", "ENVIRONMENT", "environment"),
    )
    host: str = Field("127.0.0.1", description="Address to listen on. Loopback unless told.")
    port: int = Field(8420, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    share_port: bool = Field(
        False,
        description="Let several servers of a cluster listen on this port on one machine: the kernel deals out connections.",
    )
    allowed_hosts: list[str] = Field(
        default_factory=list,
        description="Host names to answer to besides those of loopback; `*` for any. Needed behind a proxy on loopback.",
    )
    anonymous_access: Literal["on-loopback", "anyone-may-do-everything"] = Field(
        "on-loopback",
        description="Who may work without an API key: `on-loopback` whoever reaches a server that listens on loopback only, "
        "as long as no key was ever made; `anyone-may-do-everything` whoever reaches it, wherever it listens.",
    )
    audit_retention_days: float = Field(365.0, gt=0, description="How long the audit trail is kept.")
    data_dir: Path = Field(
        Path("~/.local/share/tidegate"),
        description="Where the database, uploads, results and scratch space live.",
        validation_alias=AliasChoices("TIDEGATE_DATA_DIR", "NFS_SHARE_ROOT_PATH", "data_dir"),
    )
    scratch_dir: Path | None = Field(
        None,
        description="Folder on a disk of this machine for what running jobs spill and write; default: below `data_dir`. For "
        "workers whose `data_dir` is a shared path.",
    )
    database_url: str | None = Field(
        None,
        description="Database of record, as a SQLAlchemy URL; default: SQLite in the data directory.",
        validation_alias=AliasChoices("TIDEGATE_DATABASE_URL", "DATABASE_URL", "database_url"),
    )
    db_pool_size: int | None = Field(
        None,
        ge=1,
        description="Connections kept open to PostgreSQL or MySQL; default: 10 a CPU up to 30, in development 10.",
        validation_alias=AliasChoices("TIDEGATE_DB_POOL_SIZE", "DB_POOL_SIZE", "db_pool_size"),
    )
    db_max_overflow: int | None = Field(
        None,
        ge=0,
        description="Connections beyond those, for a while; default: 5 a CPU up to 20, in development 10.",
        validation_alias=AliasChoices("TIDEGATE_DB_MAX_OVERFLOW", "DB_MAX_OVERFLOW", "db_max_overflow"),
    )
    broker_url: str | None = Field(
        None,
        description="Celery's broker. With it this is a cluster: servers bring jobs to workers on other machines.",
        validation_alias=AliasChoices("TIDEGATE_BROKER_URL", "CELERY_BROKER_URL", "broker_url"),
    )
    redis_url: str | None = Field(
        None,
        description="Redis for wake-ups, counters and progress between machines; without it a cluster looks every second.",
        validation_alias=AliasChoices("TIDEGATE_REDIS_URL", "REDIS_URL", "redis_url"),
    )
    cluster_name: str = Field(
        "tidegate",
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$",
        description="Keeps clusters apart that share one Redis or broker.",
    )
    consul_host: str | None = Field(
        None,
        description="Consul's agent, in which the server registers while it runs. See [deployment.md](deployment.md#consul).",
        validation_alias=AliasChoices("TIDEGATE_CONSUL_HOST", "CONSUL_HOST", "consul_host"),
    )
    consul_port: int = Field(
        8500,
        ge=1,
        le=65535,
        description="Port of its HTTP API.",
        validation_alias=AliasChoices("TIDEGATE_CONSUL_PORT", "CONSUL_PORT", "consul_port"),
    )
    consul_tls: bool = Field(
        False,
        description="Whether that speaks TLS.",
        validation_alias=AliasChoices("TIDEGATE_CONSUL_TLS", "CONSUL_HTTP_SSL", "consul_tls"),
    )
    consul_token: SecretStr | None = Field(
        None,
        description="Token for it, where it wants one.",
        validation_alias=AliasChoices("TIDEGATE_CONSUL_TOKEN", "CONSUL_HTTP_TOKEN", "consul_token"),
    )
    consul_token_file: Path | None = Field(
        None,
        description="File that holds the token, read anew for each call; goes before `consul_token`.",
        validation_alias=AliasChoices(
            "TIDEGATE_CONSUL_TOKEN_FILE", "CONSUL_HTTP_TOKEN_FILE", "consul_token_file"
        ),
    )
    consul_service: str = Field(
        "tidegate",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Name of the service in Consul, as in `tidegate.service.consul`.",
    )
    consul_address: str | None = Field(
        None,
        description="Address that others reach this server by; default: `host`, or where that means all addresses, the one "
        "that Consul's agent sees.",
    )
    resend_after_s: float = Field(
        10.0, gt=0, description="Seconds after which a start that no worker has claimed is sent again."
    )
    source_roots: list[Path] = Field(
        default_factory=list,
        description="Folders outside the data directory whose files may be registered as sources.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    log_file: Path | None = Field(
        None,
        description="File to log to as well, rotated.",
        validation_alias=AliasChoices("TIDEGATE_LOG_FILE", "LOG_FILE", "log_file"),
    )
    log_to: Literal["stderr", "stdout"] = Field(
        "stderr",
        description="Where else: standard error, or standard output, on which the line with the address is then one of them.",
        validation_alias=AliasChoices("TIDEGATE_LOG_TO", "LOG_TO", "log_to"),
    )
    otel_endpoint: str | None = Field(
        None,
        description="Collector of OpenTelemetry that traces go to, such as `http://127.0.0.1:4318`; default: none are made. "
        "Needs the extra `otel`. See [traces.md](traces.md).",
        validation_alias=AliasChoices(
            "TIDEGATE_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "otel_endpoint"
        ),
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which a server or worker shows its metrics to whoever reaches it; default: servers show them on "
        "their own port alone, workers nowhere. Processes of one machine may share it. See [metrics.md](metrics.md).",
        validation_alias=AliasChoices("TIDEGATE_METRICS_PORT", "METRICS_PORT", "metrics_port"),
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of that port. Loopback unless told: nobody is asked for a key there.",
        validation_alias=AliasChoices("TIDEGATE_METRICS_HOST", "METRICS_HOST", "metrics_host"),
    )
    metrics_exemplars: bool = Field(
        False,
        description="Show the trace of the last submission with each bucket of how long requests took, to those who ask for "
        "OpenMetrics. Takes `otel_endpoint`. See [metrics.md](metrics.md).",
    )

    cpus: float | None = Field(
        None, description="CPUs the worker offers; default: what the machine or container has."
    )
    memory: str | None = Field(
        None, description="Memory the worker offers; default: what the machine or container has."
    )
    disk: str | None = Field(None, description="Scratch disk the worker offers; default: what is free.")
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Labels of the worker, such as `disk` = `ssd`: jobs that ask for labels run only where all of them are.",
    )
    headroom_cpus: float = Field(
        0.0, ge=0, description="CPUs kept for system and service; weights protect them anyway."
    )
    headroom_memory: str | None = Field(
        None, description="Memory kept for system and service; default: 10 % and at least 512 MiB."
    )
    enforcement: Literal["auto", "cgroup2", "cgroup1", "watchdog"] = Field(
        "auto",
        description="Which rung of the ladder of limits to use; auto takes the strongest that works here.",
    )
    pressure: Literal["on", "watch"] = Field(
        "on",
        description="Whether the levels of pressure (docs/overload.md) lead to anything, or are only told: `watch`.",
    )
    pressure_rules: dict[str, Any] = Field(
        default_factory=dict,
        description="What differs from the default rules on pressure: `signals` and `levels`, as in docs/overload.md.",
    )
    readings_retention_days: float = Field(
        14.0, gt=0, description="How long the readings of workers and servers are kept, one sample a minute."
    )
    yield_cpu: Literal["auto", "idle", "nice", "weight", "off"] = Field(
        "auto",
        description="How jobs yield the CPU: to the service alone, else SCHED_IDLE, niceness, cgroup weight only, or not.",
    )

    max_concurrent: int = Field(
        3, ge=1, description="Running tasks of a queue, unless the queue has its own cap."
    )
    max_waiting: int = Field(
        200_000, ge=1, description="Waiting tasks above which submissions are refused with 429."
    )
    max_bulk: int = Field(10_000, ge=1, description="Jobs in one bulk submission.")
    default_timeout_s: float = Field(3600.0, gt=0, description="Time limit of a job that names none.")
    max_losses: int = Field(
        5,
        ge=0,
        description="How often a task is started again because its worker was lost or its machine was short of memory.",
    )
    max_losses_of: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {"lint": 3}, description="The same for kinds of jobs where it is another number."
    )
    max_requests: int | None = Field(
        None,
        ge=2,
        description="Requests of a kind (submissions, reads, queries) that are worked at at once; default: learned from how "
        "long they take, 20 to 200.",
    )
    rate_limit: str | None = Field(
        None,
        description="How often one owner may ask, such as `600/minute` or `20/second; 600/minute`; default: as often as he "
        "likes. What ends an overload, such as cancelling, is not counted. Needs the extra `rates`.",
    )
    max_streams: int = Field(
        2000,
        ge=2,
        description="Uploads, downloads, followed events and waits for jobs that go on at once; more are refused with 429.",
    )
    max_crashes: int = Field(
        5,
        ge=1,
        description="Crashes of one server within ten minutes that are borne; one more leads to safe mode.",
    )
    body_idle_s: float = Field(
        30.0, gt=0, description="Longest pause in the body of a request; then it is refused with 408."
    )
    query_timeout_s: float = Field(10.0, gt=0, description="Longest time of a synchronous query.")
    query_max_rows: int = Field(10_000, ge=1, description="Most rows of a synchronous query.")
    max_upload: str = Field("0", description="Largest upload; 0: as much as the disk holds.")
    result_cache: str = Field(
        "256MiB",
        description="Most bytes of answers on files that are kept to answer the same again, such as of lint; 0: none.",
    )
    retention_days: float = Field(30.0, gt=0, description="How long finished jobs and their events are kept.")
    usage_retention_days: float = Field(
        400.0,
        gt=0,
        description="How long what users, queues and kinds used is kept by the hour, and what other installations reported.",
    )
    archive_days: float = Field(
        365.0,
        ge=0,
        description="How long what jobs used is kept after they finished, without what users wrote.",
    )
    archive_by_month: bool = Field(
        False, description="Divide that archive by months, on PostgreSQL: forgetting a month is then cheap."
    )

    enable_commands: bool = Field(
        False, description="Whether jobs may be commands: programs of the users' own choice."
    )
    command_readable_roots: list[Path] = Field(
        default_factory=list,
        description="Folders below which a command may be given files to read and programs to run.",
    )
    command_writable_roots: list[Path] = Field(
        default_factory=list,
        description="Folders below which a command may be given files to write, too.",
    )
    function_modules: list[str] = Field(
        default_factory=list,
        description="Python modules whose registered functions may be called by jobs.",
    )
    function_path: list[Path] = Field(
        default_factory=list,
        description="Folders to look for these modules in, before Python's own.",
    )

    targets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Databases that ingest jobs may load into: names and URLs. Give workers the same.",
    )
    ingest_urls: Literal["on-loopback", "anyone", "nobody"] = Field(
        "on-loopback",
        description="Who may name the URL of a database in an ingest job, instead of one of `targets`: `on-loopback` whoever "
        "reaches a server that listens on loopback only.",
    )
    target_roots: list[Path] = Field(
        default_factory=list,
        description="Folders below which such a URL may name SQLite files.",
    )

    alert_channels: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Who is told of alerts: names and URLs. `smtp(s):` sends e-mail, `http(s):` calls a signed webhook, all "
        "else is for Apprise. See [alerts.md](alerts.md).",
    )
    alert_levels: dict[str, Literal["warning", "severe", "danger"]] = Field(
        default_factory=dict,
        description="From which level on a channel is told, by its name; default: `warning`.",
    )
    alert_every_s: float = Field(5.0, gt=0, description="Seconds between two looks of the alerts.")
    alert_retention_days: float = Field(90.0, gt=0, description="How long alerts are kept after their end.")

    beat_s: float = Field(30.0, gt=0, description="Seconds between two beats of a worker.")
    lease_s: float = Field(
        60.0,
        gt=0,
        description="Seconds without a sign of life after which nothing more is started on a worker. After 5/6 of it the "
        "worker ends what it runs, after 3/2 of it the worker is dead and its attempts run elsewhere. At least two beats.",
    )
    leader_lease_s: float = Field(
        10.0,
        gt=0,
        description="Seconds after which another server schedules when the one that did is not heard of.",
    )
    grace_s: float = Field(
        10.0, ge=0, description="Seconds running jobs get to finish when the server stops."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _Files(settings_cls), TomlConfigSettingsSource(settings_cls)

    @property
    def losses(self) -> Losses:
        """How often tasks are started again that did nothing wrong."""
        return Losses(self.max_losses, self.max_losses_of)

    @property
    def only_on_loopback(self) -> bool:
        """Whether only programs of this machine reach the server. `allowed_hosts` says that a proxy brings others."""
        host = self.host.lower()
        return (host in _LOOPBACK_NAMES or host.startswith("127.")) and not self.allowed_hosts

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        try:
            check_labels(labels)
        except InvalidInput as error:
            raise ValueError(error.message) from None
        return labels

    @model_validator(mode="after")
    def _check_alert_levels(self) -> Settings:
        if unknown := sorted(self.alert_levels.keys() - self.alert_channels.keys()):
            raise ValueError(
                f"alert_levels names channels that are not in alert_channels: {', '.join(unknown)}"
            )
        return self

    @model_validator(mode="after")
    def _check_shared_port(self) -> Settings:
        if self.share_port and (self.broker_url is None or self.port == 0):
            raise ValueError("share_port is for servers of a cluster (broker_url) on a port that is not 0")
        return self

    @model_validator(mode="after")
    def _check_beats(self) -> Settings:
        if self.lease_s < 2 * self.beat_s:
            raise ValueError(
                f"lease_s ({self.lease_s:g}) must be at least twice beat_s ({self.beat_s:g}), or one late beat loses a worker"
            )
        return self

    def offered(self, capacity: Resources) -> Resources:
        """The capacity to count with: what the machine has, lowered (never raised) by the settings."""
        return Resources(
            min(capacity.cpu_milli, parse_cpus(self.cpus)) if self.cpus is not None else capacity.cpu_milli,
            min(capacity.memory_bytes, parse_bytes(self.memory)) if self.memory else capacity.memory_bytes,
            min(capacity.disk_bytes, parse_bytes(self.disk, name="disk"))
            if self.disk
            else capacity.disk_bytes,
        )

    def allocatable(self, capacity: Resources) -> Resources:
        """Capacity less headroom. Memory headroom: 10 % and at least 512 MiB, but at most half; disk: 1 GiB, at most half."""
        offered = self.offered(capacity)
        memory = offered.memory_bytes
        kept = (
            parse_bytes(self.headroom_memory, name="headroom_memory")
            if self.headroom_memory is not None
            else min(max(memory // 10, 512 * MIB), memory // 2)
        )
        return Resources(
            max(offered.cpu_milli - parse_cpus(self.headroom_cpus), 0),
            max(memory - kept, 0),
            max(offered.disk_bytes - min(GIB, offered.disk_bytes // 2), 0),
        )


_SECRET = frozenset(
    {"targets", "alert_channels", "consul_token", "TIDEGATE_CONSUL_TOKEN", "CONSUL_HTTP_TOKEN"}
)


def _given(error: Mapping[str, Any]) -> str:
    """What was given in place of a good value, unless it may be secret."""
    return "" if _SECRET.intersection(map(str, error["loc"])) else f", not {error.get('input')!r}"


def load_settings(**given: object) -> Settings:
    """Settings from all sources; `given` wins, None in it means not given. Raises SettingError naming each bad value."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}{_given(e)}"
            if e["loc"]
            else e["msg"].removeprefix("Value error, ")
            for e in error.errors()
        ]
        raise SettingError("These settings cannot be used. " + "; ".join(lines) + ".") from None
