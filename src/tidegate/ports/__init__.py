"""What the server needs of the world. Each port is small and has one conformance suite in `tidegate.testing.conformance`.

The store is one database behind several ports, each for one user of it: intake and the API (`JobStore`), the scheduler
(`ScheduleStore`), the choice of who schedules (`LeaderStore`), its care of workers (`RescueStore`), the workers themselves
(`AttemptStore`), sources (`SourceStore`), queues (`QueueStore`), keys (`KeyStore`), the audit trail (`AuditStore`), alerts
(`AlertStore`) and so on. All of them block; callers in an event loop go through a thread. Every write names the state it
expects and answers what really changed.
"""

from tidegate.ports.alerts import (
    AlertFilter,
    AlertState,
    AlertStore,
    Channel,
    ChannelFailed,
    ChannelState,
    Message,
    Notice,
    RuleChange,
    RuleChanges,
    WorkDone,
)
from tidegate.ports.attempts import (
    NO_PRESSURE,
    TAKES_BATCHES,
    AttemptStore,
    BeatAnswer,
    WorkerInfo,
    WorkerPressure,
)
from tidegate.ports.cache import LedgerCache, Mark, Rooms, WorkerRoom
from tidegate.ports.identity import AuditFilter, AuditStore, KeyStore
from tidegate.ports.jobs import (
    Accepted,
    AttemptRecord,
    Cancelled,
    Event,
    JobFilter,
    JobRecord,
    JobStore,
    TaskRecord,
)
from tidegate.ports.launching import Launcher, WorkerControl
from tidegate.ports.leading import LeaderStore
from tidegate.ports.machine import ExecutorStats, Host, PoolStats, Probe, Reading
from tidegate.ports.pressure import ChangedRules, Overload, ReadingStore, Sensor
from tidegate.ports.queues import QueueRecord, QueueStore
from tidegate.ports.rates import OverRate, RateLimiter
from tidegate.ports.recovery import Quarantined, QuarantineStore, RecoveryStore
from tidegate.ports.rescue import LostAttempt, RescueStore
from tidegate.ports.schedule import Changes, ScheduleStore
from tidegate.ports.signals import Bell, Clock
from tidegate.ports.sources import SourceStore
from tidegate.ports.statistics import Report, ReportSummary, StatisticsStore
from tidegate.ports.store import Store
from tidegate.ports.usage import MOST_HOURS, UsageFilter, UsageStore
from tidegate.ports.workers import Draining, Held, LiveAttempt, WorkerRecord, WorkerStore
from tidegate.ports.workloads import (
    KEEP,
    FunctionDefaults,
    IntakeContext,
    KindRules,
    Runner,
    TaskContext,
    Workload,
    WorkOrder,
)

__all__ = [
    "KEEP",
    "MOST_HOURS",
    "NO_PRESSURE",
    "TAKES_BATCHES",
    "Accepted",
    "AlertFilter",
    "AlertState",
    "AlertStore",
    "AttemptRecord",
    "AttemptStore",
    "AuditFilter",
    "AuditStore",
    "BeatAnswer",
    "Bell",
    "Cancelled",
    "ChangedRules",
    "Changes",
    "Channel",
    "ChannelFailed",
    "ChannelState",
    "Clock",
    "Draining",
    "Event",
    "ExecutorStats",
    "FunctionDefaults",
    "Held",
    "Host",
    "IntakeContext",
    "JobFilter",
    "JobRecord",
    "JobStore",
    "KeyStore",
    "KindRules",
    "Launcher",
    "LeaderStore",
    "LedgerCache",
    "LiveAttempt",
    "LostAttempt",
    "Mark",
    "Message",
    "Notice",
    "OverRate",
    "Overload",
    "PoolStats",
    "Probe",
    "QuarantineStore",
    "Quarantined",
    "QueueRecord",
    "QueueStore",
    "RateLimiter",
    "Reading",
    "ReadingStore",
    "RecoveryStore",
    "Report",
    "ReportSummary",
    "RescueStore",
    "Rooms",
    "RuleChange",
    "RuleChanges",
    "Runner",
    "ScheduleStore",
    "Sensor",
    "SourceStore",
    "StatisticsStore",
    "Store",
    "TaskContext",
    "TaskRecord",
    "UsageFilter",
    "UsageStore",
    "WorkDone",
    "WorkOrder",
    "WorkerControl",
    "WorkerInfo",
    "WorkerPressure",
    "WorkerRecord",
    "WorkerRoom",
    "WorkerStore",
    "Workload",
]
