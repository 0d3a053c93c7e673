"""Challenges: the scoreboard of NTIRE 2022 (efficient super-resolution), the scores of Mobile AI 2021 and MLPerf Mobile."""
