//go:build cgo && linux

package main

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"autoglm-sidecar/gpu"
)

// words are what NVML's errors mean. They are ours since go-nvml asks the library for its own, even where it isn't loaded: that
// would be the end of the process. So a nvml.Return is never formatted.
var words = map[nvml.Return]string{
	nvml.ERROR_UNINITIALIZED:             "not initialised",
	nvml.ERROR_INVALID_ARGUMENT:          "invalid argument",
	nvml.ERROR_NOT_SUPPORTED:             "not supported",
	nvml.ERROR_NO_PERMISSION:             "no permission",
	nvml.ERROR_NOT_FOUND:                 "not found",
	nvml.ERROR_INSUFFICIENT_SIZE:         "insufficient size",
	nvml.ERROR_INSUFFICIENT_POWER:        "a power cable is missing",
	nvml.ERROR_DRIVER_NOT_LOADED:         "the driver is not loaded",
	nvml.ERROR_TIMEOUT:                   "timeout",
	nvml.ERROR_IRQ_ISSUE:                 "trouble with an interrupt",
	nvml.ERROR_LIBRARY_NOT_FOUND:         "the library is not found",
	nvml.ERROR_FUNCTION_NOT_FOUND:        "the driver doesn't have the function",
	nvml.ERROR_CORRUPTED_INFOROM:         "the InfoROM is corrupted",
	nvml.ERROR_GPU_IS_LOST:               "the GPU is lost",
	nvml.ERROR_RESET_REQUIRED:            "the GPU needs a reset",
	nvml.ERROR_OPERATING_SYSTEM:          "the system or a cgroup keeps the device from us",
	nvml.ERROR_LIB_RM_VERSION_MISMATCH:   "the library and the loaded driver are of different versions",
	nvml.ERROR_IN_USE:                    "in use",
	nvml.ERROR_MEMORY:                    "out of memory",
	nvml.ERROR_NO_DATA:                   "no data",
	nvml.ERROR_INSUFFICIENT_RESOURCES:    "insufficient resources",
	nvml.ERROR_ARGUMENT_VERSION_MISMATCH: "the driver has another version of the call",
	nvml.ERROR_DEPRECATED:                "the driver has dropped the function",
	nvml.ERROR_NOT_READY:                 "not ready",
	nvml.ERROR_GPU_NOT_FOUND:             "there is no GPU",
	nvml.ERROR_INVALID_STATE:             "invalid state",
	nvml.ERROR_UNKNOWN:                   "unknown error",
}

// text says an error in words, with its number to look up.
func text(r nvml.Return) string {
	if said := words[r]; said != "" {
		return fmt.Sprintf("%s (NVML error %d)", said, int(r))
	}
	return fmt.Sprintf("NVML error %d", int(r))
}

// libraryAfter is how we stand with a library that couldn't be initialised.
func libraryAfter(r nvml.Return) gpu.Library {
	switch r {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return gpu.NoLibrary
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return gpu.NoDriver
	case nvml.ERROR_NO_PERMISSION, nvml.ERROR_OPERATING_SYSTEM:
		return gpu.NotPermitted
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return gpu.WrongVersion
	default:
		return gpu.LibraryFailed
	}
}

// trouble is what an error says of a device.
func trouble(r nvml.Return) gpu.Trouble {
	switch r {
	case nvml.SUCCESS:
		return gpu.NoTrouble
	case nvml.ERROR_GPU_IS_LOST:
		return gpu.Lost
	case nvml.ERROR_RESET_REQUIRED:
		return gpu.ResetRequired
	case nvml.ERROR_NO_PERMISSION:
		return gpu.Unpermitted
	case nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_FUNCTION_NOT_FOUND:
		return gpu.Unsupported
	default:
		return gpu.Unreadable
	}
}

// stale says that the library has lost the driver under it: no call of this process will succeed again.
func stale(r nvml.Return) bool {
	return r == nvml.ERROR_UNINITIALIZED || r == nvml.ERROR_DRIVER_NOT_LOADED || r == nvml.ERROR_LIB_RM_VERSION_MISMATCH
}
