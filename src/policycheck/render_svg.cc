#include <fmt/format.h>

#include <algorithm>

#include "policycheck/render.h"

namespace fairway::policycheck {
namespace {

constexpr int kCell = 34, kWideCell = 58, kGap = 3, kMargin = 24, kTitle = 58, kLetter = 7, kLegend = 52;

struct Look {
  const char *fill, *ink;
};
constexpr Look kAll{"#2f7d4f", "#ffffff"}, kSome{"#f0b429", "#3b2c00"}, kPart{"#c9dff2", "#12395c"}, kNone{"#eceff3", "#9aa5b1"};

Look look_of(const Cell& cell) {
  if (!cell.uniform()) return kPart;
  return cell.some.empty() ? kNone : cell.some.is_all() ? kAll : kSome;
}

std::string shortened(const std::string& text, std::size_t most) { return text.size() <= most ? text : text.substr(0, most - 1) + "…"; }

int longest(const std::vector<const End*>& ends) {
  std::size_t out = 4;
  for (const End* end : ends) out = std::max(out, std::min<std::size_t>(end->name.size(), 40));
  return static_cast<int>(out) * kLetter;
}

std::string box(int x, int y, int width, int height, const Look& look) {
  return fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"5\" fill=\"{}\"/>", x, y, width, height, look.fill);
}

std::string legend(int x, int y) {
  std::string out;
  const std::pair<Look, const char*> entries[] = {{kAll, "all ports"}, {kSome, "some ports"}, {kPart, "not all pods"}, {kNone, "none"}};
  for (const auto& [look, text] : entries) {
    out += box(x, y, 14, 14, look) + fmt::format("<text x=\"{}\" y=\"{}\" class=\"s\">{}</text>\n", x + 20, y + 11, text);
    x += 108;
  }
  return out;
}

}  // namespace

std::string escaped_xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

std::string render_svg(const Check& check, const Selection& selection, const std::string& title) {
  const int cell_width = selection.to.size() <= 16 ? kWideCell : kCell, step_x = cell_width + kGap, step_y = kCell + kGap;
  const int left = kMargin + longest(selection.from) + 14;
  const int top = kTitle + longest(selection.to) * 7 / 10 + 30;
  const int columns = static_cast<int>(selection.to.size()), rows = static_cast<int>(selection.from.size());
  const int width = std::max(left + columns * step_x + longest(selection.to) * 7 / 10 + kMargin, 500),
            height = top + rows * step_y + kLegend;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" font-family=\"DejaVu Sans Mono, "
      "Menlo, "
      "monospace\" font-size=\"12\" fill=\"#1f2933\">\n<style>.t{{font:600 16px sans-serif}}.s{{font:12px "
      "sans-serif;fill:#52606d}}</style>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"{2}\" y=\"32\" class=\"t\">{3}</text>\n"
      "<text x=\"{2}\" y=\"50\" class=\"s\">who (left) may open a connection to whom (above), by both ends' policies</text>\n",
      width, height, kMargin, escaped_xml(title));
  for (int i = 0; i < columns; ++i)
    out += fmt::format("<text transform=\"translate({},{}) rotate(-42)\">{}</text>\n", left + i * step_x + cell_width / 2 + 2, top - 10,
                       escaped_xml(shortened(selection.to[static_cast<std::size_t>(i)]->name, 40)));
  for (int r = 0; r < rows; ++r) {
    const End& from = *selection.from[static_cast<std::size_t>(r)];
    const int y = top + r * step_y;
    out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", left - 12, y + kCell / 2 + 4,
                       escaped_xml(shortened(from.name, 40)));
    for (int c = 0; c < columns; ++c) {
      const End& to = *selection.to[static_cast<std::size_t>(c)];
      if (from.kind != End::Kind::kWorkload && to.kind != End::Kind::kWorkload) continue;
      const Cell cell = check.between(from, to);
      const Look look = look_of(cell);
      const int x = left + c * step_x;
      out += "<g>" + box(x, y, cell_width, kCell, look);
      out += fmt::format("<title>{} to {}: {}</title>", escaped_xml(from.name), escaped_xml(to.name), escaped_xml(cell.to_string()));
      if (!cell.some.empty())
        out += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" fill=\"{}\">{}</text>", x + cell_width / 2,
                           y + kCell / 2 + 4, look.ink,
                           escaped_xml(shortened(cell.to_string(), static_cast<std::size_t>(cell_width / kLetter))));
      out += "</g>\n";
    }
  }
  return out + legend(kMargin, height - 30) + "</svg>\n";
}

}  // namespace fairway::policycheck
