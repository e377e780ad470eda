/**
 * Sections and keys of systemd's unit files with the kind of value each takes: what `systemd
 * --dump-configuration-items` of systemd 252 (Debian 12) and 257 (Debian 13) print, merged; kinds that it calls OTHER
 * come from systemd's load-fragment-gperf.gperf.in. `+`: only 257 has the key. `-`: only 252 has it. Sections that share
 * keys stand together. The format is read by `key-table.ts`. Data only.
 */
export const UNIT_KEYS = `[Unit]
[Install]
[Unit Service]
enum:Action: StartLimitAction FailureAction
free: RebootArgument
span: StartLimitInterval
unsigned: StartLimitBurst
[Unit]
boolean: StopWhenUnneeded RefuseManualStart RefuseManualStop AllowIsolate DefaultDependencies
  +SurviveFinalKillSignal OnFailureIsolate IgnoreOnIsolate
condition: ConditionPathExists ConditionPathExistsGlob ConditionPathIsDirectory ConditionPathIsSymbolicLink
  ConditionPathIsMountPoint ConditionPathIsReadWrite ConditionPathIsEncrypted ConditionDirectoryNotEmpty
  ConditionFileNotEmpty ConditionFileIsExecutable ConditionNeedsUpdate ConditionFirstBoot
  ConditionArchitecture ConditionFirmware ConditionVirtualization ConditionHost ConditionKernelCommandLine
  ConditionKernelVersion ConditionCredential ConditionSecurity ConditionCapability ConditionACPower
  ConditionMemory ConditionCPUFeature ConditionCPUs ConditionEnvironment ConditionUser ConditionGroup
  ConditionControlGroupController ConditionOSRelease ConditionMemoryPressure ConditionCPUPressure
  ConditionIOPressure AssertPathExists AssertPathExistsGlob AssertPathIsDirectory AssertPathIsSymbolicLink
  AssertPathIsMountPoint AssertPathIsReadWrite AssertPathIsEncrypted AssertDirectoryNotEmpty
  AssertFileNotEmpty AssertFileIsExecutable AssertNeedsUpdate AssertFirstBoot AssertArchitecture
  AssertVirtualization AssertHost AssertKernelCommandLine AssertKernelVersion AssertCredential
  AssertSecurity AssertCapability AssertACPower AssertMemory AssertCPUFeature AssertCPUs AssertEnvironment
  AssertUser AssertGroup AssertControlGroupController AssertOSRelease AssertMemoryPressure AssertCPUPressure
  AssertIOPressure
enum:Action: JobTimeoutAction SuccessAction
enum:CollectMode: CollectMode
enum:JobMode: OnSuccessJobMode OnFailureJobMode
free: Description Documentation RequiresOverridable RequisiteOverridable JobTimeoutRebootArgument
  FailureActionExitStatus SuccessActionExitStatus
path: SourcePath
paths: RequiresMountsFor +WantsMountsFor
span: JobTimeoutSec JobRunningTimeoutSec StartLimitIntervalSec
units: Requires Requisite Wants BindsTo BindTo Upholds Conflicts Before After OnSuccess OnFailure
  PropagatesReloadTo PropagateReloadTo ReloadPropagatedFrom PropagateReloadFrom PropagatesStopTo
  StopPropagatedFrom PartOf JoinsNamespaceOf
[Service Socket Mount Swap Slice Scope]
boolean: CPUAccounting MemoryAccounting +MemoryZSwapWriteback IOAccounting BlockIOAccounting TasksAccounting
  IPAccounting +CoredumpReceive
enum:DevicePolicy: DevicePolicy
enum:ManagedOOM: ManagedOOMSwap ManagedOOMMemoryPressure
enum:ManagedOOMPreference: ManagedOOMPreference
enum:MemoryPressureWatch: +MemoryPressureWatch
free: AllowedCPUs StartupAllowedCPUs AllowedMemoryNodes StartupAllowedMemoryNodes CPUShares StartupCPUShares
  DeviceAllow IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax IOWriteIOPSMax
  IODeviceLatencyTargetSec BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth Delegate
  +DelegateSubgroup DisableControllers IPAddressAllow IPAddressDeny IPIngressFilterPath IPEgressFilterPath
  ManagedOOMMemoryPressureLimit BPFProgram SocketBindAllow SocketBindDeny RestrictNetworkInterfaces +NFTSet
memory: MemoryMin DefaultMemoryMin DefaultMemoryLow +DefaultStartupMemoryLow MemoryLow +StartupMemoryLow
  MemoryHigh +StartupMemoryHigh MemoryMax +StartupMemoryMax MemorySwapMax +StartupMemorySwapMax
  +MemoryZSwapMax +StartupMemoryZSwapMax MemoryLimit
quota: CPUQuota
span: CPUQuotaPeriodSec +ManagedOOMMemoryPressureDurationSec +MemoryPressureThresholdSec
tasks: TasksMax
unit: Slice
weight: CPUWeight StartupCPUWeight IOWeight StartupIOWeight BlockIOWeight StartupBlockIOWeight
[Service Socket Mount Swap Scope]
boolean: SendSIGKILL SendSIGHUP
enum:KillMode: KillMode
signal: KillSignal RestartKillSignal FinalKillSignal WatchdogSignal
[Service Socket Mount Swap]
binds: BindPaths BindReadOnlyPaths
boolean: +RootEphemeral +SetLoginEnvironment CPUSchedulingResetOnFork DynamicUser RemoveIPC TTYReset
  TTYVHangup TTYVTDisallocate SyslogLevelPrefix NoNewPrivileges MemoryDenyWriteExecute RestrictRealtime
  RestrictSUIDSGID LockPersonality PrivateDevices ProtectKernelTunables ProtectKernelModules
  ProtectKernelLogs ProtectClock PrivateNetwork PrivateMounts PrivateIPC +PrivatePIDs MountAPIVFS
  +BindLogSockets IgnoreSIGPIPE +MemoryKSM
capabilities: CapabilityBoundingSet AmbientCapabilities
enum:CPUSchedulingPolicy: CPUSchedulingPolicy
enum:Facility: SyslogFacility
enum:IOSchedulingClass: IOSchedulingClass
enum:Input: StandardInput
enum:KeyringMode: KeyringMode
enum:Level: SyslogLevel LogLevelMax
enum:Output: StandardOutput StandardError
enum:Personality: Personality
enum:Preserve: RuntimeDirectoryPreserve
enum:PrivateTmp: PrivateTmp
enum:PrivateUsers: PrivateUsers
enum:ProcSubset: ProcSubset
enum:ProtectControlGroups: ProtectControlGroups
enum:ProtectHome: ProtectHome
enum:ProtectHostname: ProtectHostname
enum:ProtectProc: ProtectProc
enum:ProtectSystem: ProtectSystem
enum:UtmpMode: UtmpMode
environ: Environment
environment-file: EnvironmentFile
families: RestrictAddressFamilies
folders: RuntimeDirectory StateDirectory CacheDirectory LogsDirectory ConfigurationDirectory
free: RootImageOptions +RootImagePolicy RootHash RootHashSignature RootVerity ExtensionImages
  +ExtensionImagePolicy MountImages +MountImagePolicy User Group SupplementaryGroups CoredumpFilter
  CPUSchedulingPriority CPUAffinity NUMAPolicy NUMAMask PassEnvironment UnsetEnvironment StandardInputText
  StandardInputData TTYPath TTYRows TTYColumns SyslogIdentifier LogExtraFields +LogFilterPatterns SecureBits
  TimerSlackNSec SystemCallArchitectures SystemCallErrorNumber RestrictNamespaces RestrictFileSystems
  ExecSearchPath TemporaryFileSystem LogNamespace MountFlags SetCredential SetCredentialEncrypted
  LoadCredential LoadCredentialEncrypted +ImportCredential PAMName UtmpIdentifier SELinuxContext
  AppArmorProfile SmackProcessLabel
io-priority: IOSchedulingPriority
limit: LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE LimitAS LimitNPROC
  LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME
mode: UMask RuntimeDirectoryMode StateDirectoryMode CacheDirectoryMode LogsDirectoryMode
  ConfigurationDirectoryMode
nice: Nice
oom-score: OOMScoreAdjust
path: RootDirectory RootImage NetworkNamespacePath IPCNamespacePath
paths: ExtensionDirectories ReadWriteDirectories ReadOnlyDirectories InaccessibleDirectories ReadWritePaths
  ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths
span: TimeoutSec LogRateLimitIntervalSec TimeoutCleanSec
syscalls: SystemCallFilter SystemCallLog
unsigned: LogRateLimitBurst
working-directory: WorkingDirectory
[Service Socket]
exec: ExecStartPre ExecStartPost ExecStopPost
[Service Scope]
enum:OOMPolicy: OOMPolicy
span: TimeoutStopSec RuntimeMaxSec RuntimeRandomizedExtraSec
[Service]
boolean: PermissionsStartOnly RootDirectoryStartOnly RemainAfterExit GuessMainPID NonBlocking
enum:ExitType: ExitType
enum:NotifyAccess: NotifyAccess
enum:Preserve: +FileDescriptorStorePreserve
enum:Restart: Restart
enum:RestartMode: +RestartMode
enum:TimeoutMode: TimeoutStartFailureMode TimeoutStopFailureMode
enum:Type: Type
exec: ExecCondition ExecStart ExecReload ExecStop
free: PIDFile RestartPreventExitStatus RestartForceExitStatus SuccessExitStatus BusName +OpenFile
path: USBFunctionDescriptors USBFunctionStrings
signal: +ReloadSignal
span: RestartSec +RestartMaxDelaySec TimeoutStartSec TimeoutAbortSec WatchdogSec
units: Sockets
unsigned: +RestartSteps FileDescriptorStoreMax
[Socket Mount Automount Path]
mode: DirectoryMode
[Socket Swap]
integer: Priority
[Socket Path]
span: TriggerLimitIntervalSec
unsigned: TriggerLimitBurst
[Socket]
boolean: Accept FlushPending Writable KeepAlive NoDelay FreeBind Transparent Broadcast PassCredentials
  +PassFileDescriptorsToExec PassSecurity PassPacketInfo ReusePort RemoveOnStop SELinuxContextFromNet
enum:BindIPv6Only: BindIPv6Only
enum:SocketProtocol: SocketProtocol
enum:Timestamping: Timestamping
exec: ExecStopPre
free: ListenNetlink ListenSpecial ListenMessageQueue ListenUSBFunction BindToDevice SocketUser SocketGroup
  DeferAcceptSec IPTOS IPTTL Mark TCPCongestion MessageQueueMaxMessages MessageQueueMessageSize Symlinks
  FileDescriptorName SmackLabel SmackLabelIPIn SmackLabelIPOut
listen: ListenStream ListenDatagram ListenSequentialPacket
mode: SocketMode
path: ListenFIFO
size: ReceiveBuffer SendBuffer PipeSize
span: KeepAliveTimeSec KeepAliveIntervalSec +PollLimitIntervalSec
unit: Service
unsigned: Backlog MaxConnections MaxConnectionsPerSource KeepAliveProbes +PollLimitBurst
[Mount Swap]
free: What Options
[Mount Automount]
path: Where
[Mount]
boolean: SloppyOptions LazyUnmount ForceUnmount ReadWriteOnly
free: Type
[Automount]
free: ExtraOptions
span: TimeoutIdleSec
[Timer Path]
unit: Unit
[Timer]
boolean: OnClockChange OnTimezoneChange Persistent WakeSystem RemainAfterElapse FixedRandomDelay
  +DeferReactivation
calendar: OnCalendar
span: OnActiveSec OnBootSec OnStartupSec OnUnitActiveSec OnUnitInactiveSec AccuracySec RandomizedDelaySec
[Path]
boolean: MakeDirectory
path: PathExists PathExistsGlob PathChanged PathModified DirectoryNotEmpty
[Install]
free: DefaultInstance
units: Alias WantedBy RequiredBy +UpheldBy Also
`;
