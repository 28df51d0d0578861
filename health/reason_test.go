package health

import "testing"

// The names are kept in ledgers and dashboards: changing one is changing a format.
func TestReasonNamesAreTheDesigns(t *testing.T) {
	want := []string{"", "operator", "config", "memory_forecast", "memory_limit", "unhealthy", "hung", "crashed", "gpu_fault", "age"}
	if len(want) != NumReasons {
		t.Fatalf("%d reasons, the test knows %d", NumReasons, len(want))
	}
	for i, name := range want {
		text, err := Reason(i).MarshalText()
		if err != nil || string(text) != name {
			t.Errorf("Reason(%d) is written %q, %v; want %q", i, text, err, name)
		}
		var back Reason
		if err := back.UnmarshalText(text); err != nil || back != Reason(i) {
			t.Errorf("%q is read as %v, %v; want %v", text, back, err, Reason(i))
		}
	}
	var r Reason
	if err := r.UnmarshalText([]byte("mood")); err == nil {
		t.Error("an unknown reason was taken")
	}
}

func TestOnlyGraveReasonsMayCut(t *testing.T) {
	grave := map[Reason]bool{MemoryLimit: true, Unhealthy: true, Hung: true, GPUFault: true}
	for i := range NumReasons {
		if r := Reason(i); r.MayCut() != grave[r] {
			t.Errorf("%v.MayCut() = %v, want %v", r, r.MayCut(), grave[r])
		}
	}
}
