#include "core/report.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>

namespace fairway::bench {

namespace {

// Three significant digits, no exponent.
std::string number(double v) {
  if (v == 0) return "0";
  int digits = std::clamp(2 - static_cast<int>(std::floor(std::log10(std::abs(v)))), 0, 6);
  return fmt::format("{:.{}f}", v, digits);
}
std::string number(const std::optional<double>& v, const char* suffix = "") { return v ? number(*v) + suffix : ""; }

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) out += fmt::format("\\u{:04x}", c);
    else out += c;
  }
  return out + '"';
}
std::string json_number(const std::optional<double>& v) { return v && std::isfinite(*v) ? fmt::format("{:.6g}", *v) : "null"; }

std::string xml_text(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

std::optional<bool> Row::met() const {
  if (goal.of == Goal::Of::kNothing || (goal.of == Goal::Of::kRatio && !ratio)) return std::nullopt;
  double value = goal.of == Goal::Of::kRatio ? *ratio : ours;
  return goal.at_most ? value <= goal.limit : value >= goal.limit;
}

std::string Row::goal_text() const {
  if (goal.of == Goal::Of::kNothing) return "reported";
  return fmt::format("{} {}{}", goal.at_most ? "≤" : "≥", goal.limit, goal.of == Goal::Of::kRatio ? "×" : " " + unit);
}

Machine this_machine() {
  Machine out;
  utsname name{};
  uname(&name);
  out.kernel = name.release;
  out.cores = static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN));
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("model name")) continue;
    out.cpu = line.substr(line.find(':') + 2);
    break;
  }
  std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  out.date = text;
  return out;
}

std::string render_markdown(const Machine& machine, const std::vector<Row>& rows) {
  std::string out = fmt::format("{} cores of {}, Linux {}, {}{}{}\n\n", machine.cores, machine.cpu, machine.kernel, machine.date,
                                machine.versions.empty() ? "" : "; ", machine.versions);
  out += "| row | ours | base | ratio | spread | goal | met | base is | note |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const Row& r : rows) {
    auto met = r.met();
    out += fmt::format("| `{}` | {} {} | {} | {} | {} | {} | {} | {} | {} |\n", r.name, number(r.ours), r.unit,
                       r.base ? number(*r.base) + " " + r.unit : "", number(r.ratio, "×"), r.spread ? "±" + number(*r.spread / 2) : "",
                       r.goal_text(), met ? (*met ? "yes" : "**no**") : "", r.base_name, r.note);
  }
  return out;
}

std::string render_json(const Machine& machine, const std::vector<Row>& rows) {
  std::string out =
      fmt::format("{{\"machine\":{{\"cpu\":{},\"cores\":{},\"kernel\":{},\"date\":{},\"versions\":{}}},\n\"rows\":[",
                  json_text(machine.cpu), machine.cores, json_text(machine.kernel), json_text(machine.date), json_text(machine.versions));
  for (const Row& r : rows) {
    auto met = r.met();
    out += fmt::format(
        "{}\n{{\"name\":{},\"ours\":{},\"base\":{},\"base_name\":{},\"unit\":{},\"ratio\":{},\"spread\":{},\"goal\":{},\"met\":{},\"note\":"
        "{}}}",
        &r == &rows.front() ? "" : ",", json_text(r.name), json_number(r.ours), json_number(r.base), json_text(r.base_name),
        json_text(r.unit), json_number(r.ratio), json_number(r.spread), json_text(r.goal_text()), met ? (*met ? "true" : "false") : "null",
        json_text(r.note));
  }
  return out + "\n]}\n";
}

// One bar a row that has a ratio, on a scale where the base is 1; the goal is a tick.
std::string render_svg(const Machine& machine, const std::vector<Row>& rows) {
  std::vector<const Row*> drawn;
  double most = 1.2;
  for (const Row& r : rows) {
    if (!r.ratio || !std::isfinite(*r.ratio)) continue;
    drawn.push_back(&r);
    most = std::max(most, std::min(*r.ratio, 3.0));
  }
  constexpr double kLeft = 330, kWidth = 420, kLine = 26;
  double height = 70 + kLine * static_cast<double>(drawn.size());
  auto x = [&](double v) { return kLeft + kWidth * std::min(v, most) / most; };
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"860\" height=\"{0:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"860\" height=\"{0:.0f}\" fill=\"#ffffff\"/>\n"
      "<text x=\"10\" y=\"20\" font-size=\"14\">Fairway against its base (1 = the base; tick = goal)</text>\n"
      "<text x=\"10\" y=\"38\" fill=\"#666666\">{1}, {2} cores, Linux {3}, {4}</text>\n",
      height, xml_text(machine.cpu), machine.cores, xml_text(machine.kernel), machine.date);
  double y = 56;
  for (const Row* r : drawn) {
    auto met = r->met();
    const char* colour = !met ? "#8a9ba8" : *met ? "#2e8b57" : "#c0392b";
    out += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\">{}</text>\n", kLeft - 8, y + 13, xml_text(r->name));
    out += fmt::format("<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.1f}\" height=\"16\" fill=\"{}\"/>\n", kLeft, y, x(*r->ratio) - kLeft,
                       colour);
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\">{}</text>\n", x(*r->ratio) + 6, y + 13, number(*r->ratio));
    if (r->goal.of == Goal::Of::kRatio) {
      out += fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.0f}\" y2=\"{2:.0f}\" stroke=\"#000000\" stroke-width=\"2\"/>\n",
                         x(r->goal.limit), y - 2, y + 18);
    }
    y += kLine;
  }
  out += fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"48\" y2=\"{1:.0f}\" stroke=\"#999999\" stroke-dasharray=\"3\"/>\n", x(1), y);
  return out + "</svg>\n";
}

}  // namespace fairway::bench
