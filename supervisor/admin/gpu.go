package admin

import "time"

// What is known of GPUs, in the words that status, its screen and the metrics share. Sizes are in bytes, of one device.

// GPUReader is how that stands which reads the GPUs.
type GPUReader struct {
	State   string    `json:"state"` // of ReaderStates
	Since   time.Time `json:"since,omitzero"`
	Text    string    `json:"text,omitempty"` // why, where it doesn't read; of the library, its own words
	Version string    `json:"version,omitempty"`
	Starts  int       `json:"starts"` // of the program
	PID     int       `json:"pid"`    // of it; 0: none runs

	Library string   `json:"library,omitempty"` // of Libraries; empty: the reader has not said
	Driver  string   `json:"driver,omitempty"`  // as in "550.54.15"
	CUDA    string   `json:"cuda,omitempty"`    // the latest that the driver supports, as in "12.4"
	Lacks   []string `json:"lacks,omitempty"`   // what this driver can't say, by NVML's symbols
	Error   string   `json:"error,omitempty"`   // the settings name devices that there are not
}

// How the reader may stand.
const (
	ReaderAbsent   = "absent"   // there is no such program
	ReaderStarting = "starting" // nothing has come yet
	ReaderReading  = "reading"
	ReaderSilent   = "silent"  // no answer for long
	ReaderFailed   = "failed"  // it has ended, and is started again after a while
	ReaderRefused  = "refused" // it is of another version than ours
)

// ReaderStates are all of them.
var ReaderStates = []string{ReaderAbsent, ReaderStarting, ReaderReading, ReaderSilent, ReaderFailed, ReaderRefused}

// How the driver's library may stand. Of all but LibraryReads nothing is known of any device.
const (
	LibraryReads        = "reads"
	LibraryAbsent       = "no_library"
	LibraryNoDriver     = "no_driver"
	LibraryNotPermitted = "not_permitted"
	LibraryWrongVersion = "wrong_version"
	LibraryFailed       = "library_failed"
)

// GPU is what is known of one device of the worker: a GPU, or a MIG instance of one. Where a field doesn't say how it is when it is not
// known, that is 0 or empty.
type GPU struct {
	Index  int    `json:"index"`
	UUID   string `json:"uuid"`
	Name   string `json:"name,omitempty"`
	Parent string `json:"parent,omitempty"` // of a MIG instance: the GPU's UUID

	Mode    string `json:"mode,omitempty"`    // of GPUModes: how the worker's memory is told from others'; empty: no life has been looked at
	Trouble string `json:"trouble,omitempty"` // of GPUTroubles: why nothing is read of it; what the fields have is older, or 0
	Detail  string `json:"detail,omitempty"`  // of Trouble, in the driver's words

	TotalBytes    int64 `json:"total_bytes"`
	UsedBytes     int64 `json:"used_bytes"` // of the device, whosever; without the reserved ones
	FreeBytes     int64 `json:"free_bytes"`
	ReservedBytes int64 `json:"reserved_bytes"` // by driver and firmware; 0: a part of the used ones, where the driver doesn't tell them apart
	WorkerBytes   int64 `json:"worker_bytes"`   // -1: not known
	OthersBytes   int64 `json:"others_bytes"`   // -1: not known
	BaselineBytes int64 `json:"baseline_bytes"` // that the device used before the life began; -1: not known
	NeedBytes     int64 `json:"need_bytes"`     // that have to be free for the next life

	Stage               string   `json:"stage,omitempty"` // of GPUStages; empty: no life serves
	PlateauBytes        int64    `json:"plateau_bytes"`   // what the worker uses when it has warmed up; with LimitBytes and AllowanceBytes, from stage watching on
	LimitBytes          int64    `json:"limit_bytes"`     // what it may use at most
	AllowanceBytes      int64    `json:"allowance_bytes"` // from the one to the other
	SlopeBytesPerMinute *float64 `json:"slope_bytes_per_minute"`
	BoundBytesPerMinute *float64 `json:"bound_bytes_per_minute"` // the lower end of the slope's interval; by it FullInSeconds is reckoned
	FullInSeconds       int64    `json:"full_in_seconds"`        // until the limit; 0: the trend doesn't lead there
	Foreseen            bool     `json:"foreseen"`               // that is within the horizon, and has been for long enough to act on it
	Soft                bool     `json:"soft"`                   // most of the allowance is used
	Hard                bool     `json:"hard"`                   // it is full in all but name
	Contexts            int      `json:"contexts"`               // processes of the worker on it
	ContextsExpected    int      `json:"contexts_expected"`
	UtilisationPercent  *int     `json:"utilisation_percent"`
	TemperatureCelsius  *int     `json:"temperature_celsius"`
	ClockReasons        []string `json:"clock_reasons"` // of GPUClockReasons: why its clocks are not at their highest; null: not known
	UncorrectedECC      *uint64  `json:"uncorrected_ecc"`
	RowsPending         *bool    `json:"rows_pending"`       // a bad row of its memory waits for a reset to be replaced
	RowsFailed          *bool    `json:"rows_failed"`        // and this could not be done
	Recovery            string   `json:"recovery,omitempty"` // of GPURecoveries: what the driver wants done with it

	Xids   map[string]int64 `json:"xids,omitempty"`   // faults that the driver told of, by their code
	Halted string           `json:"halted,omitempty"` // why no life may be started on it, and what to do
	Notes  []string         `json:"notes,omitempty"`  // what people should know beside that

	Curve []CurvePoint `json:"curve,omitempty"` // of the life's last hour, oldest first
}

// CurvePoint is one minute of what a worker used of a device.
type CurvePoint struct {
	MinutesAgo   int   `json:"minutes_ago"` // before now; of a restart that is over, before that
	FloorBytes   int64 `json:"floor_bytes"` // the least in it
	HighestBytes int64 `json:"highest_bytes"`
}

// The words of GPU, all that there are of each.
var (
	GPUModes    = []string{"process", "device", "blind"}
	GPUStages   = []string{"warming", "settling", "watching", "tight"}
	GPUTroubles = []string{TroubleLost, TroubleReset, TroubleNotPermitted, TroubleUnsupported, TroubleUnreadable}
	// GPUClockReasons are NVML's bits 0x1 to 0x80, and all others together.
	GPUClockReasons = []string{"idle", "app_clocks", "sw_power_cap", "hw_slowdown", "sync_boost", "sw_thermal", "hw_thermal", "power_brake", otherWord}
	// GPURecoveries are NVML's numbers from 0, and all others together.
	GPURecoveries = []string{RecoveryNone, "reset", "reboot", "drain_p2p", "drain_reset", "recover_imex", "bus_reset", "system_reboot", otherWord}
)

const otherWord = "other"

// What may keep a device from being read.
const (
	TroubleLost         = "lost"
	TroubleReset        = "reset_required"
	TroubleNotPermitted = "not_permitted"
	TroubleUnsupported  = "not_supported"
	TroubleUnreadable   = "unreadable"
)

// RecoveryNone says that the driver wants nothing done.
const RecoveryNone = "none"

// ClockReasonsOf gives the words for NVML's bits; nil: they are not known.
func ClockReasonsOf(bits *uint64) []string {
	if bits == nil {
		return nil
	}
	words := []string{}
	last := len(GPUClockReasons) - 1
	for i, word := range GPUClockReasons[:last] {
		if *bits>>i&1 != 0 {
			words = append(words, word)
		}
	}
	if *bits>>last != 0 {
		words = append(words, GPUClockReasons[last])
	}
	return words
}

// RecoveryOf gives the word for NVML's number; nil: it is not known.
func RecoveryOf(action *int) string {
	switch {
	case action == nil:
		return ""
	case *action < 0 || *action >= len(GPURecoveries)-1:
		return otherWord
	}
	return GPURecoveries[*action]
}

// Sampled says that its memory was read.
func (g *GPU) Sampled() bool { return g.Trouble == "" && g.UsedBytes+g.FreeBytes > 0 }

// Planned is what is planned for the life that serves.
type Planned struct {
	MaxAgeSeconds int64     `json:"max_age_seconds"`      // it is replaced when it is that old; 0: never for that
	WindowOpen    bool      `json:"window_open"`          // restarts that can wait may be made now
	NextWindow    time.Time `json:"next_window,omitzero"` // when they may next
	Latched       []string  `json:"latched,omitempty"`    // UUIDs of devices for whose memory none is made any more: the last gave nothing back
}

// GPUMemory is the memory of a life on one device in the hour before it was replaced.
type GPUMemory struct {
	Index int          `json:"index"`
	UUID  string       `json:"uuid"`
	Curve []CurvePoint `json:"curve"` // oldest first
}
