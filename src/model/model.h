/* The model layer's public header. */
#pragma once

#include "model/forward.h"
#include "model/guest.h"
#include "model/image.h"
#include "model/key-file.h"
#include "model/network.h"
#include "model/point.h"
#include "model/prefix.h"
#include "model/schedule.h"
#include "model/schema.h"
#include "model/snapshot.h"
#include "model/vlan.h"
