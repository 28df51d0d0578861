//go:build cgo && linux

package main

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/dl"
	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"autoglm-sidecar/gpu"
)

// feature is something that we ask the library for, and that an older or a newer driver may lack.
type feature int

const (
	core feature = iota // without it there is nothing
	driverVersion
	nvmlVersion
	cudaVersion
	busID
	memoryReserved
	memory
	utilisation
	temperature
	computeProcesses
	mpsProcesses
	fieldValues
	clockEventReasons
	clockThrottleReasons
	eccErrors
	remappedRows
	instances
	xidEvents
)

// features say of each the symbols that go-nvml calls for it: all of them are needed, and of "a|b" one. The first names it. A
// stand-in is asked for only where the newer is absent, so that to lack it is no news.
//
// A call of a symbol that isn't there ends the process, perhaps days after the start. So a call whose symbols don't stand here
// must not be made; ask and its like see to it.
var features = [...]struct {
	needs   string
	standIn bool
}{
	core: {needs: `nvmlInit_v2|nvmlInit nvmlShutdown nvmlDeviceGetCount_v2|nvmlDeviceGetCount
		nvmlDeviceGetHandleByIndex_v2|nvmlDeviceGetHandleByIndex nvmlDeviceGetUUID nvmlDeviceGetName`},
	driverVersion:        {needs: "nvmlSystemGetDriverVersion"},
	nvmlVersion:          {needs: "nvmlSystemGetNVMLVersion"},
	cudaVersion:          {needs: "nvmlSystemGetCudaDriverVersion_v2"},
	busID:                {needs: "nvmlDeviceGetPciInfo_v3|nvmlDeviceGetPciInfo_v2|nvmlDeviceGetPciInfo"},
	memoryReserved:       {needs: "nvmlDeviceGetMemoryInfo_v2"},
	memory:               {needs: "nvmlDeviceGetMemoryInfo", standIn: true},
	utilisation:          {needs: "nvmlDeviceGetUtilizationRates"},
	temperature:          {needs: "nvmlDeviceGetTemperature"},
	computeProcesses:     {needs: runningProcesses("nvmlDeviceGetComputeRunningProcesses")},
	mpsProcesses:         {needs: runningProcesses("nvmlDeviceGetMPSComputeRunningProcesses")},
	fieldValues:          {needs: "nvmlDeviceGetFieldValues"},
	clockEventReasons:    {needs: "nvmlDeviceGetCurrentClocksEventReasons"},
	clockThrottleReasons: {needs: "nvmlDeviceGetCurrentClocksThrottleReasons", standIn: true},
	eccErrors:            {needs: "nvmlDeviceGetTotalEccErrors"},
	remappedRows:         {needs: "nvmlDeviceGetRemappedRows"},
	instances: {needs: `nvmlDeviceGetMigMode nvmlDeviceGetMaxMigDeviceCount nvmlDeviceGetMigDeviceHandleByIndex
		nvmlDeviceGetGpuInstanceId nvmlDeviceGetComputeInstanceId`},
	xidEvents: {needs: `nvmlDeviceRegisterEvents nvmlDeviceGetSupportedEventTypes nvmlEventSetCreate nvmlEventSetFree
		nvmlEventSetWait_v2|nvmlEventSetWait`},
}

// runningProcesses are a list of processes in the versions that go-nvml knows; it takes the newest that there is.
func runningProcesses(symbol string) string { return symbol + "_v3|" + symbol + "_v2|" + symbol }

// library is NVML, as far as the installed one goes. It is owned by the reader; but for wait, one call at a time.
type library struct {
	path  string
	file  *dl.DynamicLibrary // nil: not loaded yet. It is never unloaded: functions that were called stay bound to it
	api   nvml.Interface
	has   [len(features)]bool
	lacks []string // the names of those that it has not
}

func newLibrary(path string) *library {
	return &library{path: path, api: nvml.New(nvml.WithLibraryPath(path))}
}

// load loads the library's file and finds out what it has. The error is the loader's, which go-nvml keeps to itself.
func (l *library) load() error {
	if l.file != nil {
		return nil
	}
	file := dl.New(l.path, dl.RTLD_LAZY|dl.RTLD_GLOBAL)
	if err := file.Open(); err != nil {
		return err
	}
	l.file = file
	for f, row := range features {
		needs := strings.Fields(row.needs)
		l.has[f] = true
		for _, need := range needs {
			l.has[f] = l.has[f] && l.exports(need)
		}
		if !l.has[f] && !row.standIn {
			named, _, _ := strings.Cut(needs[0], "|")
			l.lacks = append(l.lacks, named)
		}
	}
	return nil
}

// exports says whether the library has one of the symbols.
func (l *library) exports(oneOf string) bool {
	for symbol := range strings.SplitSeq(oneOf, "|") {
		if l.file.Lookup(symbol) == nil {
			return true
		}
	}
	return false
}

// open loads and initialises the library. If it doesn't read, detail says why; open may be called again then.
func (l *library) open() (as gpu.Library, detail string) {
	if err := l.load(); err != nil {
		return gpu.NoLibrary, err.Error()
	}
	if !l.has[core] {
		return gpu.LibraryFailed, "the file " + l.path + " is no NVML: it lacks " + l.lacks[0] + " or its like"
	}
	r := l.api.Init()
	if r == nvml.SUCCESS {
		return gpu.Reads, ""
	}
	// go-nvml counts an attempt that failed like one that succeeded.
	l.api.Shutdown()
	return libraryAfter(r), text(r)
}

// close ends what a successful open began. Nothing may be called after it.
func (l *library) close() { l.api.Shutdown() }

// device is a GPU or a MIG instance. Its handle is only ever used in this file.
type device struct {
	gpu.Device

	handle nvml.Device
	gpu    *device // of an instance: whose it is; of a GPU: itself
}

// ask makes one call, if the library has it.
func ask[T any](l *library, f feature, call func() (T, nvml.Return)) (T, nvml.Return) {
	if !l.has[f] {
		var none T
		return none, nvml.ERROR_FUNCTION_NOT_FOUND
	}
	return call()
}

// asked is ask for what is left out where it can't be had.
func asked[T any](l *library, f feature, call func() (T, nvml.Return)) T {
	answer, r := ask(l, f, call)
	if r != nvml.SUCCESS {
		var none T
		return none
	}
	return answer
}

// versions are of the driver, of CUDA in it, and of the library.
func (l *library) versions() (driver string, cuda int, own string) {
	return asked(l, driverVersion, l.api.SystemGetDriverVersion), asked(l, cudaVersion, l.api.SystemGetCudaDriverVersion_v2),
		asked(l, nvmlVersion, l.api.SystemGetNVMLVersion)
}

// count is the number of GPUs.
func (l *library) count() (int, nvml.Return) { return ask(l, core, l.api.DeviceGetCount) }

// gpuAt opens the GPU at a place in NVML's order. With an error nothing is known but what d.Error says.
func (l *library) gpuAt(index int) *device {
	d := &device{Device: gpu.Device{Index: index}}
	d.gpu = d
	handle, r := ask(l, core, func() (nvml.Device, nvml.Return) { return l.api.DeviceGetHandleByIndex(index) })
	if r != nvml.SUCCESS {
		d.Error = text(r)
		return d
	}
	d.handle = handle
	if l.describe(d); d.handle == nil {
		return d
	}
	d.Bus = l.bus(d)
	mode := asked(l, instances, func() (int, nvml.Return) {
		current, _, r := handle.GetMigMode()
		return current, r
	})
	d.MIG = mode == nvml.DEVICE_MIG_ENABLE
	return d
}

// describe asks for what a GPU and an instance of one have alike.
func (l *library) describe(d *device) {
	uuid, r := ask(l, core, d.handle.GetUUID)
	if r != nvml.SUCCESS {
		d.Error, d.handle = text(r), nil
		return
	}
	d.UUID, d.Name = uuid, asked(l, core, d.handle.GetName)
	m, _ := l.memory(d)
	d.Total = m.total
}

// bus is a GPU's PCI bus id.
func (l *library) bus(d *device) string {
	var id []byte
	for _, c := range asked(l, busID, d.handle.GetPciInfo).BusId {
		if c == 0 {
			break
		}
		id = append(id, byte(c))
	}
	return string(id)
}

// instancesOf opens the MIG instances of a GPU.
func (l *library) instancesOf(whole *device) []*device {
	var found []*device
	for i := range asked(l, instances, whole.handle.GetMaxMigDeviceCount) {
		handle, r := ask(l, instances, func() (nvml.Device, nvml.Return) { return whole.handle.GetMigDeviceHandleByIndex(i) })
		if r == nvml.ERROR_NOT_FOUND || r == nvml.ERROR_INVALID_ARGUMENT {
			continue // a place where there is none
		}
		d := &device{Device: gpu.Device{Index: i, Parent: whole.UUID, Bus: whole.Bus}, handle: handle, gpu: whole}
		found = append(found, d)
		if r != nvml.SUCCESS {
			d.Error, d.handle = text(r), nil
			continue
		}
		if l.describe(d); d.handle == nil {
			continue
		}
		d.GI = uint32(asked(l, instances, handle.GetGpuInstanceId))
		d.CI = uint32(asked(l, instances, handle.GetComputeInstanceId))
	}
	return found
}

// sizes is a device's memory.
type sizes struct{ total, used, free, reserved gpu.Bytes }

// memory asks for the newer of the two calls wherever there is one: they differ in what they call used, and one series must
// not have both.
func (l *library) memory(d *device) (sizes, nvml.Return) {
	if l.has[memoryReserved] {
		m, r := ask(l, memoryReserved, d.handle.GetMemoryInfo_v2)
		return sizes{gpu.Bytes(m.Total), gpu.Bytes(m.Used), gpu.Bytes(m.Free), gpu.Bytes(m.Reserved)}, r
	}
	m, r := ask(l, memory, d.handle.GetMemoryInfo)
	return sizes{gpu.Bytes(m.Total), gpu.Bytes(m.Used), gpu.Bytes(m.Free), 0}, r
}

// utilisation is in per cent; nil of an instance, which has none.
func (l *library) utilisation(d *device) *int {
	rates, r := ask(l, utilisation, d.handle.GetUtilizationRates)
	return known(int(rates.Gpu), r)
}

// temperature is of the GPU.
func (l *library) temperature(d *device) *int {
	degrees, r := ask(l, temperature, func() (uint32, nvml.Return) { return d.gpu.handle.GetTemperature(nvml.TEMPERATURE_GPU) })
	return known(int(degrees), r)
}

// known is a number, or nil if it wasn't to be had.
func known[T any](n T, r nvml.Return) *T {
	if r != nvml.SUCCESS {
		return nil
	}
	return &n
}

// processes are those with a context of their own and MPS's clients. The list of the latter may be missing.
func (l *library) processes(d *device) ([]nvml.ProcessInfo, nvml.Return) {
	own, r := ask(l, computeProcesses, d.handle.GetComputeRunningProcesses)
	if r != nvml.SUCCESS {
		return nil, r
	}
	clients, r := ask(l, mpsProcesses, d.handle.GetMPSComputeRunningProcesses)
	switch trouble(r) {
	case gpu.NoTrouble, gpu.Unsupported:
		return append(own, clients...), nvml.SUCCESS
	default: // half a list would look as if somebody had ended
		return nil, r
	}
}

// recovery is what the driver wants done with the GPU. A driver that doesn't know the field says so in the field.
func (l *library) recovery(d *device) *gpu.Recovery {
	number, r := ask(l, fieldValues, func() (uint32, nvml.Return) {
		value := []nvml.FieldValue{{FieldId: nvml.FI_DEV_GET_GPU_RECOVERY_ACTION}}
		r := d.gpu.handle.GetFieldValues(value)
		if r == nvml.SUCCESS {
			r = nvml.Return(value[0].NvmlReturn)
		}
		return binary.NativeEndian.Uint32(value[0].Value[:4]), r
	})
	return known(gpu.Recovery(number), r)
}

// clockReasons are NVML's bits; the older call has the same.
func (l *library) clockReasons(d *device) *uint64 {
	if l.has[clockEventReasons] {
		return known(ask(l, clockEventReasons, d.gpu.handle.GetCurrentClocksEventReasons))
	}
	return known(ask(l, clockThrottleReasons, d.gpu.handle.GetCurrentClocksThrottleReasons))
}

// uncorrected is the count of ECC errors since the driver was loaded.
func (l *library) uncorrected(d *device) *uint64 {
	return known(ask(l, eccErrors, func() (uint64, nvml.Return) {
		return d.gpu.handle.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	}))
}

// rows are the remapped ones.
type rows struct {
	corrected, bad  int
	pending, failed bool
}

func (l *library) rows(d *device) (rows, nvml.Return) {
	return ask(l, remappedRows, func() (rows, nvml.Return) {
		corrected, bad, pending, failed, r := d.gpu.handle.GetRemappedRows()
		return rows{corrected, bad, pending, failed}, r
	})
}

// listen makes an event set and registers those of the GPUs that have Xids; a set of none is nil.
func (l *library) listen(gpus []*device) (set nvml.EventSet, listening []*device) {
	const wanted = nvml.EventTypeXidCriticalError
	set, r := ask(l, xidEvents, l.api.EventSetCreate)
	if r != nvml.SUCCESS {
		return nil, nil
	}
	for i, d := range gpus {
		if asked(l, xidEvents, d.handle.GetSupportedEventTypes)&wanted == 0 {
			continue
		}
		switch d.handle.RegisterEvents(wanted, set) {
		case nvml.SUCCESS:
			listening = append(listening, d)
		case nvml.ERROR_UNKNOWN: // NVML says that such a set is only good to be freed
			set.Free()
			return l.listen(slices.Delete(slices.Clone(gpus), i, i+1))
		default:
		}
	}
	if len(listening) == 0 {
		set.Free()
		return nil, nil
	}
	return set, listening
}

// wait waits for the next event of a set that listen made. It is the one call that is made beside others.
func wait(set nvml.EventSet) (nvml.EventData, nvml.Return) {
	return set.Wait(uint32(waitFor.Milliseconds()))
}

// free takes down a set that listen made, when nobody waits.
func free(set nvml.EventSet) { set.Free() }

// uuidOf asks again whose an event is.
func (l *library) uuidOf(e nvml.EventData) string { return asked(l, core, e.Device.GetUUID) }
