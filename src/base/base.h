/* The base layer's public header: includes the parts, each of which documents itself. */
#pragma once

#include "base/detached.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/number-list.h"
#include "base/pci-address.h"
#include "base/process.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/units.h"
#include "base/usb-spec.h"
#include "base/wait.h"
