// Identities that failed, as every audit shows them.
#pragma once

#include <string>
#include <vector>

#include "costeff/audit/identities.h"
#include "costeff/json.h"

namespace costeff {

std::string faults_text(const std::vector<audit::Fault>& faults);  // "FAULT place: what", a line each
std::string faults_html(const std::vector<audit::Fault>& faults);  // a list; nothing where there are none
Json faults_json(const std::vector<audit::Fault>& faults);         // [{"place", "what"}]

}  // namespace costeff
