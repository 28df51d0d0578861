package timetable

import (
	"strings"
	"testing"
	"time"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func table(t *testing.T, windows ...Window) Timetable {
	t.Helper()
	table, err := Parse(windows)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// at reads a time in Berlin, with its offset where the clock reads it twice: "2026-10-25 02:30 +01".
func at(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	berlin := zone(t, "Europe/Berlin")
	if got, err := time.Parse("2006-01-02 15:04 -07", text); err == nil {
		return got.In(berlin)
	}
	got, err := time.ParseInLocation("2006-01-02 15:04", text, berlin)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWithoutWindowsItIsAlwaysTime(t *testing.T) {
	now := at(t, "2026-03-01 12:00")
	var none Timetable
	if !none.Open(now) || !none.Next(now).Equal(now) || !none.Closes(now).IsZero() {
		t.Errorf("open %v, next %v, closes %v; want open, now, never", none.Open(now), none.Next(now), none.Closes(now))
	}
}

func TestWhenWindowsAreOpen(t *testing.T) {
	nightly := Window{"0 3 * * *", 2 * time.Hour, "Europe/Berlin"}
	early := Window{"30 2 * * *", time.Hour, "Europe/Berlin"}
	short := Window{"30 2 * * *", 30 * time.Minute, "Europe/Berlin"}
	over := Window{"0 22 * * fri", 8 * time.Hour, "Europe/Berlin"}
	for _, c := range []struct {
		name    string
		windows []Window
		now     string
		next    string // empty: now
		closes  string
	}{
		{"before", []Window{nightly}, "2026-06-01 02:59", "2026-06-01 03:00", ""},
		{"at its start", []Window{nightly}, "2026-06-01 03:00", "", "2026-06-01 05:00"},
		{"at its last minute", []Window{nightly}, "2026-06-01 04:59", "", "2026-06-01 05:00"},
		{"at its end", []Window{nightly}, "2026-06-01 05:00", "2026-06-02 03:00", ""},
		{"over midnight, before it", []Window{over}, "2026-06-05 23:59", "", "2026-06-06 06:00"},
		{"over midnight, behind it", []Window{over}, "2026-06-06 05:59", "", "2026-06-06 06:00"},
		{"over midnight, the day after", []Window{over}, "2026-06-06 22:00", "2026-06-12 22:00", ""},
		{"two that overlap", []Window{nightly, early}, "2026-06-01 02:30", "", "2026-06-01 05:00"},
		{"two that touch", []Window{nightly, short}, "2026-06-01 02:30", "", "2026-06-01 05:00"},
		{"the first of two", []Window{nightly, over}, "2026-06-05 21:00", "2026-06-05 22:00", ""},
		{"longer than from one to the next", []Window{{"0 * * * *", 90 * time.Minute, "UTC"}}, "2026-06-01 12:34", "", ""},
		{"as long as from one to the next", []Window{{"* * * * *", time.Minute, "UTC"}}, "2026-06-01 12:34", "", ""},
		{"two that are a day together", []Window{{"0 0 * * *", 12 * time.Hour, "UTC"}, {"0 12 * * *", 12 * time.Hour, "UTC"}}, "2026-06-01 12:34", "", ""},
		{"by name", []Window{{"@daily", time.Hour, "Europe/Berlin"}}, "2026-06-01 01:00", "2026-06-02 00:00", ""},
		{"another zone's night", []Window{{"0 3 * * *", time.Hour, "America/New_York"}}, "2026-06-01 08:00", "2026-06-01 09:00", ""},
		{"a day of years", []Window{{"0 0 29 2 *", time.Hour, "Europe/Berlin"}}, "2026-06-01 00:00", "2028-02-29 00:00", ""},

		// The clock goes from 2:00 to 3:00.
		{"a start that is skipped", []Window{early}, "2026-03-29 01:59", "2026-03-29 03:00", ""},
		{"open from where it was skipped", []Window{early}, "2026-03-29 03:59", "", "2026-03-29 04:00"},
		{"closed behind it", []Window{early}, "2026-03-29 04:00", "2026-03-30 02:30", ""},
		{"a start behind the change", []Window{nightly}, "2026-03-29 01:59", "2026-03-29 03:00", ""},
		{"across the change, an hour is shorter", []Window{{"0 1 * * *", 2 * time.Hour, "Europe/Berlin"}}, "2026-03-29 01:30", "", "2026-03-29 04:00"},

		// The clock goes from 3:00 to 2:00.
		{"the first of two starts", []Window{short}, "2026-10-25 01:00", "2026-10-25 02:30 +02", ""},
		{"closed between them", []Window{short}, "2026-10-25 02:00 +01", "2026-10-25 02:30 +01", ""},
		{"the second", []Window{short}, "2026-10-25 02:45 +01", "", "2026-10-25 03:00"},
		{"both are one", []Window{early}, "2026-10-25 02:30 +02", "", "2026-10-25 03:30"},
		{"a start at the change", []Window{{"0 2 * * *", 10 * time.Minute, "Europe/Berlin"}}, "2026-10-25 02:10 +02", "2026-10-25 02:00 +01", ""},
		{"a start behind it", []Window{nightly}, "2026-10-25 02:59 +01", "2026-10-25 03:00", ""},
		{"the day after", []Window{short}, "2026-10-25 03:00", "2026-10-26 02:30", ""},
	} {
		times, now := table(t, c.windows...), at(t, c.now)
		next := at(t, c.next)
		if c.next == "" {
			next = now
		}
		if got := times.Open(now); got != (c.next == "") {
			t.Errorf("%s: open at %s is %v", c.name, c.now, got)
		}
		if got := times.Next(now); !got.Equal(next) {
			t.Errorf("%s: next after %s is %v, want %v", c.name, c.now, got, next)
		}
		if got, want := times.Closes(now), at(t, c.closes); !got.Equal(want) {
			t.Errorf("%s: closes after %s at %v, want %v", c.name, c.now, got, want)
		}
	}
}

// An oracle that knows neither cron nor zone bounds looks at the clock minute by minute.
func TestItIsAsTheClockReads(t *testing.T) {
	for _, c := range []struct {
		window Window
		starts func(clock time.Time) bool
		days   []string // from the day before the change
	}{
		{Window{"30 2 * * *", 40 * time.Minute, "Europe/Berlin"}, func(c time.Time) bool { return c.Hour() == 2 && c.Minute() == 30 }, []string{"2026-03-28", "2026-10-24", "2026-06-06"}},
		{Window{"0 2,3 * * *", 20 * time.Minute, "Europe/Berlin"}, func(c time.Time) bool { return (c.Hour() == 2 || c.Hour() == 3) && c.Minute() == 0 }, []string{"2026-03-28", "2026-10-24", "2026-06-06"}},
		{Window{"*/20 * * * *", 5 * time.Minute, "Europe/Berlin"}, func(c time.Time) bool { return c.Minute()%20 == 0 }, []string{"2026-03-28", "2026-10-24", "2026-06-06"}},
		{Window{"59 1-3 * * sun", 90 * time.Minute, "Europe/Berlin"}, func(c time.Time) bool {
			return c.Weekday() == time.Sunday && c.Hour() >= 1 && c.Hour() <= 3 && c.Minute() == 59
		}, []string{"2026-03-28", "2026-10-24", "2026-06-06"}},
		{Window{"0 0 * * *", 10 * time.Hour, "America/Sao_Paulo"}, func(c time.Time) bool { return c.Hour() == 0 && c.Minute() == 0 }, []string{"2018-11-03", "2018-02-17"}},      // its midnights were skipped
		{Window{"15 2 * * *", 5 * time.Minute, "Australia/Lord_Howe"}, func(c time.Time) bool { return c.Hour() == 2 && c.Minute() == 15 }, []string{"2026-04-04", "2026-10-03"}}, // half an hour
		{Window{"0 12 30 * *", 25 * time.Hour, "Pacific/Apia"}, func(c time.Time) bool { return c.Day() == 30 && c.Hour() == 12 && c.Minute() == 0 }, []string{"2011-12-28"}},     // a whole day was skipped
	} {
		times, z := table(t, c.window), zone(t, c.window.Zone)
		for _, day := range c.days {
			from, err := time.ParseInLocation(time.DateOnly, day, z)
			if err != nil {
				t.Fatal(err)
			}
			var openUntil time.Time
			before := read(from.Add(-48*time.Hour-time.Minute), z)
			for now := from.Add(-48 * time.Hour); now.Before(from.Add(72 * time.Hour)); now = now.Add(time.Minute) {
				clock := read(now, z)
				for skipped := before.Add(time.Minute); skipped.Before(clock); skipped = skipped.Add(time.Minute) {
					if c.starts(skipped) {
						openUntil = now.Add(c.window.For)
					}
				}
				if c.starts(clock) {
					openUntil = now.Add(c.window.For)
				}
				before = clock
				if want := now.Before(openUntil); now.After(from) && times.Open(now) != want {
					t.Fatalf("%+v: at %v open is %v, want %v", c.window, now, !want, want)
				}
			}
		}
	}
}

// read returns what a zone's clock reads, as if in UTC.
func read(t time.Time, z *time.Location) time.Time {
	t = t.In(z)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
}

func TestNoZoneIsThisMachines(t *testing.T) {
	now := time.Now()
	for _, name := range []string{"", Local} {
		times := table(t, Window{"0 3 * * *", time.Hour, name})
		if got := times.Next(now.In(time.UTC)).In(time.Local); got.Hour() != 3 && !times.Open(now) {
			t.Errorf("zone %q: next is %v, want 3:00 of %v", name, got, time.Local)
		}
	}
}

func TestEachFaultIsToldWithAnExample(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "is missing: when the window opens, as in 0 3 * * *",
		"  ":                           "is missing",
		"0 3 * *":                      "has 4 fields, and must have five: minute, hour, day of the month, month, day of the week, as in 0 3 * * *",
		"0 0 3 * * *":                  "has 6 fields",
		"60 3 * * *":                   `the minute "60" must be 0 to 59, as in 0, */15 or 0,30`,
		"0 25 * * *":                   `the hour "25" must be 0 to 23, as in 3, 1-5 or */6`,
		"0 5-1 * * *":                  `the hour "5-1" must be`,
		"0 3 0 * *":                    `the day of the month "0" must be 1 to 31`,
		"0 3 * 13 *":                   `the month "13" must be 1 to 12 or jan to dec`,
		"0 3 * * 7":                    `the day of the week "7" must be 0 to 6 or sun to sat, as in *, 1-5 or sat,sun`,
		"0 3 * * monday":               `the day of the week "monday"`,
		"0 *-5 * * *":                  `the hour "*-5"`, // cron takes it for *
		"0 1,,2 * * *":                 `the hour "1,,2"`,
		"0 , * * *":                    `the hour ","`,
		"*/0 * * * *":                  `the minute "*/0"`,
		"+5 * * * *":                   `the minute "+5"`,
		"0 0 30 2 *":                   "names a day that never comes (day of the month 30 in month 2)",
		"0 0 31 4,6,9,11 *":            "never comes",
		"@every 1h":                    "@every has no fixed time; write when, as in 0 */6 * * *",
		"@reboot":                      "is no name that is known; write @hourly, @daily",
		"@daily 3":                     "is no name that is known",
		"TZ=":                          "names a zone; write that as zone",
		"CRON_TZ=Europe/Berlin * * * ": "names a zone; write that as zone",
		" TZ=UTC 0 3 * * *":            "names a zone",
	} {
		if err := CheckCron(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("cron %q: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"0 3 * * *", "0 3 ? * ?", "*/15 1-5 1,15 jan-MAR Sun", "0 0 29 2 *", "0 0 30 2 mon", "@hourly", "@midnight", "@yearly", " 0  3 * * * "} {
		if err := CheckCron(text); err != nil {
			t.Errorf("cron %q: %v", text, err)
		}
	}
	for _, name := range []string{"Berlin", "europe/nowhere", "../etc/passwd", "/etc/localtime", "CET+1"} {
		if err := CheckZone(name); err == nil || !strings.Contains(err.Error(), "as in Europe/Berlin, UTC, or Local") {
			t.Errorf("zone %q: %v", name, err)
		}
	}
	for _, w := range []Window{{"0 3 * * *", 0, ""}, {"0 3 * * *", time.Second, ""}, {"0 3 * * *", Longest + 1, ""}} {
		if _, err := Parse([]Window{{"@daily", time.Hour, ""}, w}); err == nil || !strings.Contains(err.Error(), "window 1: for ") {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if _, err := Parse([]Window{{"x", time.Hour, ""}}); err == nil || !strings.HasPrefix(err.Error(), `window 0: cron "x": has 1 fields`) {
		t.Errorf("got %v", err)
	}
	if _, err := Parse([]Window{{"@daily", time.Hour, "x"}}); err == nil || !strings.HasPrefix(err.Error(), `window 0: zone "x": is no time zone`) {
		t.Errorf("got %v", err)
	}
}

// Whatever is written, it is read without a panic; and what is read opens, stays open, and closes when it says.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"0 3 * * *", "30 2 29 2 *", "*/7 1-5,23 ? jan-mar 1", "@weekly", "@every 1h", "TZ=", "CRON_TZ=x", "0 *-5 * * *", "5/9 0-23/5 31 */2 *"} {
		f.Add(text, int64(time.Hour), "Europe/Berlin", int64(1774746000))
	}
	f.Add("0 0 * * *", int64(Longest), "America/Sao_Paulo", int64(1541300000))
	f.Fuzz(func(t *testing.T, text string, length int64, name string, unix int64) {
		times, err := Parse([]Window{{text, time.Duration(length), name}})
		if err != nil {
			return
		}
		const century = 100 * 365 * 24 * 3600
		now := time.Unix(((unix%century)+century)%century, 0)
		next := times.Next(now)
		if next.IsZero() {
			return // around 2100 there are eight years without a 29 February
		}
		if next.Before(now) || !times.Open(next) || next.After(now) && times.Open(next.Add(-time.Second)) {
			t.Errorf("%q: the next window after %v is at %v", text, now, next)
		}
		if end := times.Closes(next); !end.IsZero() && (!end.After(next) || times.Open(end) || !times.Open(end.Add(-time.Second))) {
			t.Errorf("%q: open at %v, it closes at %v", text, next, end)
		}
	})
}

func BenchmarkClosesNever(b *testing.B) {
	times, err := Parse([]Window{{"* * * * *", time.Minute, "Europe/Berlin"}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		times.Closes(time.Unix(1774746000, 0))
	}
}
