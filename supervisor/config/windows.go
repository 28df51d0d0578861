package config

import (
	"time"

	"autoglm-sidecar/health/timetable"
)

// windows are those of the file. What their words mean is health/timetable's to know: it is the one room that we import,
// since a second opinion on what a cron expression is would be worse.
var windows = list{
	of: object{
		{name: "cron", field: "Cron", form: text(timetable.CheckCron), help: "when it opens: minute, hour, day of the month, month, day of the week, as in 0 3 * * *, or @daily and the like"},
		{name: "for", field: "For", form: spanUpTo(timetable.Shortest, timetable.Longest, ""), help: "how long it stays open"},
		{name: "zone", field: "Zone", form: text(timetable.CheckZone), help: "time zone whose clock that is, as in Europe/Berlin; Local: this machine's"},
	},
	most: 32, fresh: func() any { return DefaultWindow() },
}

// DefaultWindow is a window of which nothing was said but that there is one. It says when by itself.
func DefaultWindow() timetable.Window {
	return timetable.Window{For: time.Hour, Zone: timetable.Local}
}
