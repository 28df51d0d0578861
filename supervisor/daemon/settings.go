package daemon

import "autoglm-sidecar/supervisor/admin"

// Config implements admin.Backend.
func (b backend) Config() admin.Config {
	s := b.Shown
	return admin.Config{Text: s.Text, Settings: s.Settings, From: s.From, Notes: s.Notes}
}

// tellNotes logs what a person should know of the settings. Later runners have the same and say nothing.
func (d *daemon) tellNotes() {
	if d.keeper.Gen > 1 {
		return
	}
	for _, note := range d.Notes {
		d.Log.Warn("settings: " + note)
	}
}
