"""Contests: the NTIRE 2022 efficient super-resolution scoreboard, and the scores of Mobile AI 2021 and MLPerf Mobile."""
