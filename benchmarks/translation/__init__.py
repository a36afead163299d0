"""The paper's last experiment: edits of a translator."""
