//! Something in front of the rest: a frame in the middle, blank inside.

use tuirealm::ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::Modifier,
    text::Line,
    widgets::{Block, Clear, Padding, Paragraph},
};

use crate::theme::Theme;

/// Draws lines in a frame with a title; what does not fit is scrolled by `scroll` lines. Returns
/// how far it could be scrolled.
pub(crate) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: Theme,
    title: &str,
    lines: Vec<Line<'static>>,
    scroll: u16,
) -> u16 {
    let widest = lines.iter().map(Line::width).max().unwrap_or(0);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).clamp(30, area.width.max(30));
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let inside = area.centered(Constraint::Length(width), Constraint::Length(height));
    let title = Line::styled(format!(" {title} "), theme.tone(crate::paint::Tone::Strong));
    let border = theme.tone(crate::paint::Tone::Plain).remove_modifier(Modifier::BOLD);
    let block = Block::bordered().title(title).border_style(border).padding(Padding::horizontal(1));
    let room = inside.height.saturating_sub(2);
    let most = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(room);
    let text = Paragraph::new(lines).block(block).scroll((scroll.min(most), 0));
    frame.render_widget(Clear, inside);
    frame.render_widget(text, inside);
    most
}
